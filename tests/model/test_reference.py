import json
import shutil

import pytest

from sanaflow.config import ModelSettings
from sanaflow.errors import InputError
from sanaflow.model.reference import resolve_model
from tests.environment import SMALL_SANA


def resolve(name, revision=None):
    return resolve_model(ModelSettings(pretrained_model_name_or_path=str(name), revision=revision))


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_and_its_copy_have_one_digest(copy_of_small_sana):
    assert resolve(copy_of_small_sana).digest() == resolve(SMALL_SANA).digest()


@pytest.mark.parametrize("component", ["vae", "transformer", "text_encoder"])
def test_changed_weights_change_that_components_digest_alone(copy_of_small_sana, component):
    [weights] = (copy_of_small_sana / component).glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    changed, original = resolve(copy_of_small_sana), resolve(SMALL_SANA)
    others = [c for c in ("vae", "transformer", "text_encoder", "tokenizer", "scheduler") if c != component]
    assert changed.digest(component) != original.digest(component)
    assert changed.digest(*others) == original.digest(*others)


def test_a_hub_model_is_pinned_and_has_the_digest_of_its_folder(hub):
    first = hub.add_repo("models", "someone/sana", files_of(SMALL_SANA))
    pinned = resolve("someone/sana")
    assert pinned.commit == first
    assert pinned.digest() == resolve(SMALL_SANA).digest()
    assert not any("resolve" in path and path.endswith(".safetensors") for _, path in hub.requests)  # no weights yet
    assert files_of(pinned.folder("vae"))["vae/config.json"] == (SMALL_SANA / "vae/config.json").read_bytes()
    assert pinned.config("transformer")["sample_size"] == 8


def test_only_the_parts_asked_for_are_downloaded(hub):
    hub.add_repo(
        "models",
        "someone/sana-parts",
        files_of(SMALL_SANA) | {"vae/old.bin": b"x", "vae/x.bf16-00001-of-00002.safetensors": b"x", "big.ckpt": b"x"},
    )
    resolve("someone/sana-parts").folder("vae")
    fetched = {path.split("/resolve/")[1].split("/", 1)[1] for _, path in hub.requests if "/resolve/" in path}
    assert fetched == {"model_index.json", "vae/config.json", "vae/diffusion_pytorch_model.safetensors"}


def test_a_private_or_missing_repository_says_what_to_do(hub):
    hub.add_repo("models", "someone/private", files_of(SMALL_SANA), private=True)
    for name in ("someone/private", "someone/nothing"):
        with pytest.raises(InputError, match=f"'{name}' is neither a folder here nor a repository"):
            resolve(name)


def test_an_unknown_revision_is_named(hub):
    hub.add_repo("models", "someone/sana", files_of(SMALL_SANA))
    with pytest.raises(InputError, match=r"no such revision: correct or remove model\.revision"):
        resolve("someone/sana", "v9")


def test_a_hub_that_is_down_is_one_line(hub):
    hub.fail_next("GET", "/api/models/", 503, 99)
    with pytest.raises(InputError, match="the hub can't be asked"):
        resolve("someone/sana")


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"is not a diffusers pipeline: it has no model_index\.json"):
        resolve(tmp_path)


def test_another_pipeline_is_refused_by_name(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(InputError, match="holds a FluxPipeline, not a SanaPipeline"):
        resolve(tmp_path)


@pytest.mark.parametrize("component", ["vae", "tokenizer"])
def test_a_missing_component_is_named(copy_of_small_sana, component):
    shutil.rmtree(copy_of_small_sana / component)
    with pytest.raises(InputError, match=f"lacks its folder '{component}'"):
        resolve(copy_of_small_sana)


def test_a_path_that_is_nowhere_is_not_asked_of_the_hub():
    with pytest.raises(InputError, match="neither a folder nor a hub id"):
        resolve("./nowhere/at/all")


def test_a_revision_makes_no_sense_for_a_folder():
    with pytest.raises(InputError, match="revision 'main' is for hub ids"):
        resolve(SMALL_SANA, "main")
