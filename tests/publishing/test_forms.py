"""What is published draws what was trained, in every form, loaded from the hub by the card's own code."""

import re

import numpy as np
import pytest
import torch
from diffusers import SanaPipeline, SanaTransformer2DModel
from safetensors import safe_open

import sanaflow.model.tunable as tunable_module
from sanaflow.config import PublishingSettings, TrainingSettings
from sanaflow.errors import InputError
from sanaflow.model.merging import load_merged
from sanaflow.model.tunable import load_tunable, load_tuned
from sanaflow.model.tuned import SanaModel, weights_digest
from sanaflow.publishing.forms import ORIGINAL_FILE
from sanaflow.publishing.release import publish
from tests.publishing.conftest import GALLERY, SCORES

ADAPTERS = {
    "standard": {"lora_type": "standard"},
    "dora": {"lora_type": "standard", "use_dora": True},
    "lokr": {},
    "loha": {"lycoris_config": {"algo": "loha", "linear_dim": 4}},
    "full difference": {"lycoris_config": {"algo": "full"}},
}
OPTIONS = {"height": 64, "width": 64, "num_inference_steps": 2, "use_resolution_binning": False}


@pytest.fixture
def trained(talkative_sana, tmp_path):
    """Weights of a kind, changed by as much as training would: `trained("lokr", ema=True)`."""

    def make(kind: str, *, ema: bool = False) -> SanaModel:
        settings = TrainingSettings(**({} if kind == "full" else {"model_type": "lora", **ADAPTERS[kind]}))
        tunable = load_tunable(talkative_sana, settings, torch.device("cpu"))
        torch.manual_seed(0)
        for folder in [tmp_path / "made", *([tmp_path / "made/ema"] if ema else [])]:
            with torch.no_grad():
                for weight in tunable.weights().values():
                    weight.add_(0.02 * torch.randn_like(weight))
            tunable.save(folder, {name: weight.detach().clone() for name, weight in tunable.weights().items()})
        folder = (tmp_path / "made").rename(tmp_path / weights_digest(tmp_path / "made"))
        data = {"latents": "0" * 64, "captions": "1" * 64}
        name = "full" if kind == "full" else settings.lora_type
        digest = talkative_sana.digest()
        return SanaModel(folder, 5, talkative_sana.name, digest, data, settings.model_dump(), kind=name, ema=ema)

    return make


@pytest.fixture
def released(talkative_sana, hub, tmp_path):
    def make(tuned: SanaModel, **settings):
        return publish(
            tuned,
            model=talkative_sana,
            scores=SCORES,
            gallery=GALLERY,
            settings=PublishingSettings(
                release_dir=str(tmp_path / "release"), hub_model_id="tester/sana-emoji", **settings
            ),
            default_folder=tmp_path / "default",
        )

    return make


def drawn(pipeline: SanaPipeline) -> np.ndarray:
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("an apple", generator=torch.Generator().manual_seed(0), **OPTIONS).images[0]
    return np.asarray(picture).astype(float)


def as_trained(tuned: SanaModel, model, version: str = "tuned") -> np.ndarray:
    transformer = load_tuned(tuned, model, version)
    return drawn(SanaPipeline.from_pretrained(model.name, transformer=transformer, torch_dtype=torch.float32))


def loaded_by_the_card(release, model) -> list[SanaPipeline]:
    """What each snippet of the card makes of what is on the hub."""
    card = (release.folder / "README.md").read_text()
    found = []
    for code in re.findall(r"```python\n(.*?)\npipeline\(", card, re.DOTALL):
        scope: dict = {}
        exec(code.replace("the folder of the base model", model.name), scope)
        found.append(scope["pipeline"])
    return found


@pytest.mark.parametrize(
    ("kind", "merged"), [("full", False), *[(kind, merged) for kind in ADAPTERS for merged in (False, True)]]
)
def test_every_form_fetched_from_the_hub_draws_the_picture_of_the_trained_model(
    kind, merged, trained, released, talkative_sana
):
    tuned = trained(kind)
    release = released(tuned, release_merged=merged)
    pipelines = loaded_by_the_card(release, talkative_sana)
    assert len(pipelines) == 1 + merged
    expected = as_trained(tuned, talkative_sana)
    base = drawn(SanaPipeline.from_pretrained(talkative_sana.name, torch_dtype=torch.float32))
    assert np.abs(expected - base).max() > 3, "or else it would show nothing"
    for pipeline in pipelines:
        assert np.abs(drawn(pipeline) - expected).max() <= 1, "a rounding of 8 bits"
    assert ("vae/config.json" in release.files) == (kind == "full" or merged)


@pytest.mark.parametrize(
    ("kind", "place"), [("full", "transformer_raw/config.json"), ("lokr", "raw/pytorch_lora_weights.safetensors")]
)
def test_the_moving_average_is_the_release_with_the_raw_weights_beside_it(
    kind, place, trained, released, talkative_sana
):
    tuned = trained(kind, ema=True)
    release = released(tuned)
    average, raw = (as_trained(tuned, talkative_sana, version) for version in ("tuned", "raw"))
    assert np.abs(average - raw).max() > 3
    [pipeline] = loaded_by_the_card(release, talkative_sana)
    assert np.abs(drawn(pipeline) - average).max() <= 1
    assert place in release.files
    assert f"`{place.split('/')[0]}` holds the last" in (release.folder / "README.md").read_text()


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("kind", ["full", "standard", "lokr"])
def test_weights_are_released_in_the_precision_asked_for(kind, dtype, trained, released, talkative_sana):
    tuned = trained(kind, ema=True)
    release = released(tuned, release_dtype=dtype, release_merged=kind != "full")
    wanted = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    ours = [path for path in release.files if path.endswith(".safetensors") and path[:3] in ("tra", "raw", "pyt")]
    assert len(ours) == (2 if kind == "full" else 3)
    for path in ours:
        with safe_open(release.folder / path, "pt") as file:
            assert {file.get_tensor(name).dtype for name in file.keys()} == {wanted}  # noqa: SIM118
    weights = SanaTransformer2DModel.from_pretrained(release.folder / "transformer", torch_dtype=wanted).state_dict()
    loaded = load_tuned(tuned, talkative_sana) if kind == "full" else load_merged(tuned, talkative_sana)
    for name, weight in loaded.state_dict().items():
        torch.testing.assert_close(weights[name], weight.to(wanted), rtol=0, atol=0)
    assert len(loaded_by_the_card(release, talkative_sana)) == 1 + (kind != "full")


def test_large_weights_are_in_shards_that_diffusers_loads(trained, released, talkative_sana, monkeypatch):
    monkeypatch.setattr(tunable_module, "SHARD_SIZE", "200KB")
    tuned = trained("full")
    release = released(tuned)
    shards = [path for path in release.files if re.fullmatch(r"transformer/.*-of-\d+\.safetensors", path)]
    assert len(shards) > 1 and "transformer/diffusion_pytorch_model.safetensors.index.json" in release.files
    [pipeline] = loaded_by_the_card(release, talkative_sana)
    assert np.abs(drawn(pipeline) - as_trained(tuned, talkative_sana)).max() <= 1


@pytest.mark.parametrize("kind", ["full", "lokr"])
def test_the_original_layout_is_read_back_by_diffusers_weight_by_weight(kind, trained, released, talkative_sana):
    tuned = trained(kind)
    release = released(tuned, release_original=True)
    assert f"`{ORIGINAL_FILE}`" in (release.folder / "README.md").read_text()
    back = SanaTransformer2DModel.from_single_file(
        release.folder / ORIGINAL_FILE, config=talkative_sana.name, subfolder="transformer", local_files_only=True
    ).state_dict()
    expected = load_tuned(tuned, talkative_sana) if kind == "full" else load_merged(tuned, talkative_sana)
    for name, weight in expected.state_dict().items():
        torch.testing.assert_close(back.pop(name), weight, rtol=0, atol=0)
    assert not back


def test_a_model_that_the_original_layout_has_no_place_for_is_refused(trained, released, talkative_sana, monkeypatch):
    tuned = trained("full")
    config = tuned.folder / "config.json"
    config.write_text(config.read_text().replace('"qk_norm": null', '"qk_norm": "rms_norm_across_heads"'))
    monkeypatch.setattr(SanaModel, "verify", lambda self: None)
    with pytest.raises(InputError, match="release_original can't hold a model with 'qk_norm'"):
        released(tuned, release_original=True)


def test_a_release_to_look_at_first_is_what_would_be_pushed(trained, released, hub):
    tuned = trained("lokr")
    looked_at = released(tuned, push_to_hub=False)
    assert looked_at.repo is None and ("models", "tester/sana-emoji") not in hub.repositories
    pushed = released(tuned)
    assert pushed.files == looked_at.files
