"""Every Sana there is, at its real sizes, from the loading to the drawing: the very same classes, but narrow.

What sets them apart is kept: edge, normalised queries, embedded positions. Only widths and depths shrink.
"""

import json
import math
import shutil

import pytest
import skimage.data
import torch
from diffusers import AutoencoderDC, SanaTransformer2DModel
from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import ASPECT_RATIO_512_BIN, ASPECT_RATIO_1024_BIN
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import ASPECT_RATIO_2048_BIN
from diffusers.pipelines.sana.pipeline_sana import ASPECT_RATIO_4096_BIN
from PIL import Image

from benchmarks.sana_tiny.start import make_pipeline
from sanaflow.buckets.geometry import plan_crop
from sanaflow.cache.latents import to_pixels
from sanaflow.cache.reading import CaptionReader, LatentReader
from sanaflow.config import CacheSettings, ModelSettings, TrainingSettings
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.evaluation.sampling import draw_pictures
from sanaflow.model.loading import (
    load_drawing_pipeline,
    load_transformer,
    native_resolution,
    pixels_per_token,
)
from sanaflow.model.reference import resolve_model
from sanaflow.model.tunable import load_tuned
from sanaflow.model.variants import VARIANTS
from sanaflow.training.memory import estimate
from tests.conftest import write_pictures
from tests.environment import SANA_TINY
from tests.training.runs import CPU, train_on

BINS = {
    512: ASPECT_RATIO_512_BIN,
    1024: ASPECT_RATIO_1024_BIN,
    2048: ASPECT_RATIO_2048_BIN,
    4096: ASPECT_RATIO_4096_BIN,
}
TINY = {
    **{"num_layers": 2, "num_attention_heads": 4, "attention_head_dim": 8, "num_cross_attention_heads": 2},
    **{"cross_attention_head_dim": 16, "cross_attention_dim": 32, "mlp_ratio": 2.5},
}
DISTINCT = ("sample_size", "qk_norm", "interpolation_scale")
KINDS = sorted({tuple(v.config().get(key) for key in DISTINCT) for v in VARIANTS.values()}, key=str)
"""512, 1024, 1024 with normalised queries, 2048 and 4096 with embedded positions."""
TRAINED = {
    "full": {"model_type": "full"},
    "from scratch": {"model_type": "full", "from_scratch": True},
    "full in bf16": {"base_model_default_dtype": "bf16", "mixed_precision": "bf16", "optimizer": "optimi-adamw"},
    "LoRA": {"model_type": "lora", "lora_type": "standard"},
    "LoKr": {"model_type": "lora"},
}


def tiny_autoencoder() -> AutoencoderDC:
    """DC-AE's six stages, 32 pixels to a latent place."""
    blocks = ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3
    scales = ((), (), (), (5,), (5,), (5,))
    both = {
        "block_types": blocks,
        "block_out_channels": (8, 8, 8, 16, 16, 32),
        "layers_per_block": (0, 1, 1, 1, 1, 1),
        "qkv_multiscales": scales,
    }
    return AutoencoderDC(
        **{f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in both.items()},
        **{"latent_channels": 32, "attention_head_dim": 8, "scaling_factor": 0.41407},
        **{"downsample_block_type": "conv", "upsample_block_type": "interpolate"},
        **{"decoder_norm_types": "rms_norm", "decoder_act_fns": "silu"},
    )


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """All but the transformer, the same for every variant."""
    folder = tmp_path_factory.mktemp("parts")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text = {
            **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16},
            **{"num_attention_heads": 2, "num_key_value_heads": 1, "query_pre_attn_scalar": 16},
        }
        pipeline = make_pipeline(
            tiny_autoencoder(), ["a red apple"], vocabulary=400, edge=1024, text_encoder=text, transformer=TINY
        )
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(params=KINDS, ids=str)
def model(request, parts, tmp_path):
    """One kind, pinned."""
    folder = shutil.copytree(parts, tmp_path / "sana")
    config = json.loads((folder / "transformer" / "config.json").read_text())
    shutil.rmtree(folder / "transformer")
    kept = {key: value for key, value in config.items() if not key.startswith("_")}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        SanaTransformer2DModel(**kept | dict(zip(DISTINCT, request.param, strict=True))).save_pretrained(
            folder / "transformer"
        )
    return resolve_model(ModelSettings(pretrained_model_name_or_path=str(folder)))


@pytest.fixture
def caches(model, tmp_path):
    """One wide picture at the model's own resolution, and its caption."""
    from sanaflow.buckets.plan import plan_crops
    from sanaflow.cache.caption_cache import make_caption_cache
    from sanaflow.cache.folder import FolderStore
    from sanaflow.cache.latent_cache import make_latent_cache
    from sanaflow.images.scan import scan_datasets

    edge, settings = native_resolution(model), CacheSettings(text_encoder_dtype="fp32")
    folder = write_pictures(tmp_path / "pictures", {"a red apple.png": (1600, 1200)}, seed=0)
    dataset = DatasetSettings(id="set", instance_data_dir=str(folder), resolution=edge)
    table = scan_datasets([dataset], folder=tmp_path / "index")
    plan = plan_crops(table.pictures, [dataset], alignment=pixels_per_token(model))
    store = FolderStore(tmp_path / "latents")
    latents = make_latent_cache(table, plan, model=model, settings=settings, store=store)
    store = FolderStore(tmp_path / "captions")
    captions = make_caption_cache(table, prompts=(), negative_prompts=(), model=model, settings=settings, store=store)
    return latents, captions


def nearest_bin(edge: int, width: int, height: int) -> tuple[int, int]:
    """(width, height) of diffusers' own table, by the ratio of ratios."""
    sizes = [(int(wide), int(high)) for high, wide in BINS[edge].values()]
    return min(sizes, key=lambda s: abs(math.log(s[0] / s[1] * height / width)))


@pytest.mark.parametrize("edge", BINS)
@pytest.mark.parametrize("size", [(1000, 1000), (1600, 1200), (1920, 1080), (1080, 1920), (4000, 1000)])
def test_pictures_go_to_the_buckets_that_the_pipeline_draws_in(edge, size):
    dataset = DatasetSettings(id="set", instance_data_dir="x", resolution=edge)
    assert plan_crop(*size, dataset).target == nearest_bin(edge, *size)


def test_each_is_encoded_trained_in_every_way_and_drawn_with_at_its_own_size(model, caches, tmp_path):
    edge = native_resolution(model)
    assert pixels_per_token(model) == 32 and edge == 32 * model.config("transformer")["sample_size"]
    width, height = nearest_bin(edge, 1600, 1200)
    [latents] = LatentReader(caches[0]).batch([0])
    assert latents.shape == (32, height // 32, width // 32)

    for kind, settings in TRAINED.items():
        short = {"max_train_steps": 1, "train_batch_size": 1, "gradient_accumulation_steps": 1, "lr_warmup_steps": 0}
        # A step so large that it shows, wherever an adapter begins at zero.
        tuned, log = train_on(caches, model, tmp_path / kind, short | settings | {"learning_rate": 0.1})
        assert log.steps["loss"].notna().all() and len(log.skipped) == 0, kind
        transformer = load_tuned(tuned, model)
        pipeline = load_drawing_pipeline(model, transformer, CPU)
        once = {"num_inference_steps": 1, "guidance": 4.5, "batch_size": 1, "negative_prompt": ""}
        reader, prompts = CaptionReader(caches[1]), [("a red apple", 0)]
        [drawn] = draw_pictures(pipeline, reader, prompts, size=(width, height), **once)
        assert drawn.size == (width, height) and drawn.getextrema() != ((0, 0),) * 3, kind
        assert pipeline.vae.use_tiling == (edge == 4096)


def test_training_begins_at_what_diffusers_own_forward_gives(model, caches):
    """Positions are embedded, and queries normalised, for shapes other than the model's square too."""
    ours = load_transformer(model)
    theirs = SanaTransformer2DModel.from_pretrained(model.name, subfolder="transformer")
    [latents] = LatentReader(caches[0]).batch([0])
    embeddings, mask = CaptionReader(caches[1]).batch([CaptionReader(caches[1]).key("a red apple", instructed=True)])
    asked = {"encoder_attention_mask": mask, "timestep": torch.tensor([500.0]), "return_dict": False}
    with torch.inference_mode():
        one, other = (m(latents[None], encoder_hidden_states=embeddings.float(), **asked)[0] for m in (ours, theirs))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_each_takes_can_be_worked_out(name):
    """The two with embedded positions included, whose table is made anew for every shape."""
    variant = VARIANTS[name]
    shape = variant.config() | {"num_layers": 1}
    settings = TrainingSettings(gradient_checkpointing=True, train_batch_size=1)
    edge = shape["sample_size"]
    square = estimate(shape, settings, latent_size=(edge, edge), text_tokens=300)
    wide = estimate(shape, settings, latent_size=(edge // 2, edge * 2), text_tokens=300)
    assert square.weights == wide.weights > 0
    assert wide.activations == pytest.approx(square.activations, rel=0.1)


def bundled_and_a_photograph() -> tuple[AutoencoderDC, torch.Tensor]:
    vae = AutoencoderDC.from_pretrained(SANA_TINY, subfolder="vae").eval()
    return vae, to_pixels([Image.fromarray(skimage.data.astronaut())], CPU)


@torch.inference_mode()
def test_tiles_change_little_of_a_trained_autoencoder_and_nothing_of_what_fits_into_one():
    vae, pixels = bundled_and_a_photograph()
    whole = vae.encode(pixels).latent
    drawn = vae.decode(whole).sample.clamp(-1, 1)
    vae.enable_tiling(512, 512, 448, 448)
    assert torch.equal(vae.encode(pixels).latent, whole)
    vae.enable_tiling(256, 256, 224, 224)
    assert (vae.encode(pixels).latent - whole).norm() < 0.1 * whole.norm()
    error = (vae.decode(whole).sample.clamp(-1, 1) - drawn).square().mean()
    assert 10 * math.log10(4 / error) > 38, "decibels"


def test_sprint_is_refused_with_what_it_is(parts, tmp_path):
    folder = shutil.copytree(parts, tmp_path / "sprint")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "SanaSprintPipeline"}))
    with pytest.raises(InputError, match=r"holds a SanaSprintPipeline.*distilled"):
        resolve_model(ModelSettings(pretrained_model_name_or_path=str(folder)))
