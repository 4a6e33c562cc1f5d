import pytest
import torch
from safetensors.torch import load_file, save_file

from sanaflow.config import ModelSettings
from sanaflow.errors import InputError
from sanaflow.model.loading import load_text_encoder, load_transformer, load_vae, native_resolution, pixels_per_token
from sanaflow.model.reference import resolve_model


def test_sizes_come_from_the_models_own_config(small_sana):
    assert pixels_per_token(small_sana) == 8
    assert native_resolution(small_sana) == 64


def test_loaded_parts_are_frozen_fp32(small_sana):
    transformer = load_transformer(small_sana)
    assert not transformer.training
    assert {(p.dtype, p.requires_grad) for p in transformer.parameters()} == {(torch.float32, False)}


def test_the_bundled_models_caption_norm_starts_as_sanas(small_sana):
    assert load_transformer(small_sana).caption_norm.weight.unique().tolist() == [pytest.approx(0.01, abs=1e-4)]


def test_weights_that_do_not_fit_are_reported_in_one_line(tmp_path, copy_of_small_sana):
    weights = copy_of_small_sana / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    model = resolve_model(ModelSettings(pretrained_model_name_or_path=str(copy_of_small_sana)))
    with pytest.raises(InputError, match=r"its vae can't be loaded \(.*get the model again") as caught:
        load_vae(model, torch.float32, torch.device("cpu"))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("component", "load"),
    [
        ("transformer", load_transformer),
        ("vae", lambda model: load_vae(model, torch.float32, torch.device("cpu"))),
        ("text_encoder", lambda model: load_text_encoder(model, torch.float32, torch.device("cpu"))),
    ],
)
def test_a_missing_weight_is_an_error_and_never_random(copy_of_small_sana, component, load):
    [path] = (copy_of_small_sana / component).glob("*.safetensors")
    weights = load_file(path)
    weights.pop(sorted(weights)[-1])
    save_file(weights, path, metadata={"format": "pt"})
    model = resolve_model(ModelSettings(pretrained_model_name_or_path=str(copy_of_small_sana)))
    with pytest.raises(InputError, match=f"its {component} can't be loaded"):
        load(model)


@pytest.mark.parametrize("config", ["{}", "[]", '{"patch_size": "x"}'])
def test_a_config_that_does_not_fit_is_one_line(copy_of_small_sana, config):
    (copy_of_small_sana / "transformer" / "config.json").write_text(config)
    model = resolve_model(ModelSettings(pretrained_model_name_or_path=str(copy_of_small_sana)))
    with pytest.raises(InputError, match="get the model again"):
        pixels_per_token(model)
