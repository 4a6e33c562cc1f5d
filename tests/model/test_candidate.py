import shutil

import pytest
import torch
from huggingface_hub import HfApi

from sanaflow.config import CandidateSettings, TrainingSettings
from sanaflow.errors import InputError
from sanaflow.model.candidate import fetch_candidate
from sanaflow.model.loading import load_transformer
from sanaflow.model.tunable import load_tunable, load_tuned
from tests.environment import SMALL_SANA

ADAPTERS = {"lycoris": {}, "standard": {"lora_type": "standard", "lora_rank": 4}}


@pytest.fixture
def fetch(small_sana, tmp_path):
    def run(name, **more):
        settings = CandidateSettings(name=str(name), **more)
        return fetch_candidate(settings, base=small_sana, models_folder=tmp_path / "models")

    return run


def prediction(transformer) -> torch.Tensor:
    torch.manual_seed(0)
    channels = transformer.config.in_channels
    asked = {"encoder_hidden_states": torch.randn(1, 3, transformer.config.caption_channels)}
    with torch.no_grad():
        return transformer(torch.randn(1, channels, 4, 4), timestep=torch.tensor([500.0]), **asked).sample


def test_a_pipelines_folder_is_its_transformer(fetch, small_sana):
    found = fetch(SMALL_SANA)
    assert found.kind == "full"
    found.verify()
    torch.testing.assert_close(prediction(load_tuned(found, small_sana)), prediction(load_transformer(small_sana)))


def test_a_transformers_folder_will_do(fetch, tuned, small_sana):
    found = fetch(tuned.folder)
    torch.testing.assert_close(prediction(load_tuned(found, small_sana)), prediction(load_tuned(tuned, small_sana)))


@pytest.mark.parametrize("kind", ADAPTERS)
def test_an_adapter_is_found_for_what_it_is(kind, fetch, talkative_sana, small_sana, tmp_path):
    settings = TrainingSettings(model_type="lora", **ADAPTERS[kind])
    tunable = load_tunable(small_sana, settings, torch.device("cpu"))
    for weight in tunable.weights().values():
        torch.nn.init.normal_(weight, std=0.05)
    tunable.save(tmp_path / "adapter", {})
    found = fetch(tmp_path / "adapter")
    assert found.kind == kind
    expected = prediction(tunable.transformer.eval())
    torch.testing.assert_close(prediction(load_tuned(found, small_sana)), expected, rtol=1e-4, atol=1e-5)


def test_a_hub_id_is_downloaded(fetch, hub, tuned, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.token)
    api = HfApi()
    api.create_repo("me/mine")
    api.upload_folder(repo_id="me/mine", folder_path=tuned.folder)
    assert fetch("me/mine").digest() == fetch(tuned.folder).digest()


def test_a_damaged_copy_is_made_anew(fetch, tuned):
    copy = fetch(tuned.folder)
    file = copy.folder / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    fetch(tuned.folder).verify()
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "is no folder, no hub id like 'owner/name' and no model version"),
        ("./nowhere/at-all", "is no folder, no hub id"),
        ("me/nothing", "neither a folder here nor a repository"),
    ],
)
def test_what_is_not_there_is_one_line(name, said, fetch, hub):
    with pytest.raises(InputError, match=said):
        fetch(name)


def test_a_folder_without_weights_is_one_line(fetch, tuned, tmp_path):
    folder = shutil.copytree(tuned.folder, tmp_path / "no-weights")
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match="holds neither a pipeline or transformer"):
        fetch(folder)
