import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import SanaPipeline
from huggingface_hub import ModelCard, snapshot_download
from PIL import Image

from sanaflow.config import PublishingSettings, TrainingSettings
from sanaflow.errors import InputError
from sanaflow.evaluation.gallery import gallery_of
from sanaflow.evaluation.scores import ClipScores
from sanaflow.model.tunable import load_tunable
from sanaflow.model.tuned import SanaModel, weights_digest
from sanaflow.publishing.hub import check_write_access
from sanaflow.publishing.model_card import license_of, model_card
from sanaflow.publishing.release import publish
from tests.servers.hub import Repository, StoredFile

SCORES = ClipScores(
    pd.DataFrame({"prompt": ["a", "b"], "seed": [0, 0], "base": [10.0, 20.0], "tuned": [12.0, 26.0]}),
    pd.DataFrame(),
    "packaged",
    "",
)
GALLERY = gallery_of([(label, p, 0, Image.new("RGB", (64, 64))) for label in ("base", "tuned") for p in "ab"])


@pytest.fixture
def release(tuned, small_sana, tmp_path):
    def make(model_version=None, **settings):
        return publish(
            tuned,
            model_version=model_version,
            model=small_sana,
            scores=SCORES,
            gallery=GALLERY,
            settings=PublishingSettings(**{"release_dir": str(tmp_path / "release"), **settings}),
            default_folder=tmp_path / "default",
        )

    return make


@pytest.fixture(autouse=True)
def token(monkeypatch, hub):
    monkeypatch.setenv("HF_TOKEN", hub.token)


def test_the_folder_is_a_pipeline_that_draws_with_the_tuned_weights(release, tuned, small_sana):
    made = release()
    pipeline = SanaPipeline.from_pretrained(made.folder)
    options = {"height": 64, "width": 64, "num_inference_steps": 2, "use_resolution_binning": False}
    drawn = pipeline("an apple", generator=torch.Generator().manual_seed(0), **options).images[0]
    base = SanaPipeline.from_pretrained(small_sana.name)
    other = base("an apple", generator=torch.Generator().manual_seed(0), **options).images[0]
    assert drawn.size == (64, 64)
    assert not np.array_equal(np.asarray(drawn), np.asarray(other))


def test_the_card_says_where_it_came_from_and_how_it_scored(release, tuned):
    card = (release(license="apache-2.0").folder / "README.md").read_text()
    assert "| gain | 4.00 | 2.00 | 6.00 | 2.83 | 2.00 | 6.00 |" in card
    assert "license: apache-2.0" in card
    assert tuned.digest()[:16] in card
    assert "can't be compared with published ones" in card


def test_no_path_of_this_machine_is_published(release, tuned, small_sana):
    made = release()
    for path in made.files:
        content = (made.folder / path).read_bytes()
        assert str(tuned.folder.parent).encode() not in content, path
        assert small_sana.name.encode() not in content, path


def test_the_manifest_lists_every_file_with_its_checksum(release):
    made = release()
    assert json.loads((made.folder / "manifest.json").read_text())["files"] == made.files
    assert {p.relative_to(made.folder).as_posix() for p in made.folder.rglob("*") if p.is_file()} == {
        *made.files,
        "manifest.json",
    }


def test_publishing_again_writes_nothing_and_a_deleted_file_comes_back(release):
    folder = release().folder
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    release()
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    (folder / "model_index.json").unlink()
    release()
    assert (folder / "model_index.json").is_file()


def test_a_folder_with_something_else_in_it_is_left_alone(release, tmp_path):
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="is or holds something else: name another folder"):
        release()
    assert [p.name for p in (tmp_path / "release").iterdir()] == ["thesis.txt"]


def test_another_programs_manifest_does_not_make_a_folder_ours(release, tmp_path):
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "manifest.json").write_text('{"name": "my web app"}')
    with pytest.raises(InputError, match="is or holds something else"):
        release()
    assert (tmp_path / "release" / "manifest.json").read_text() == '{"name": "my web app"}'


def test_a_users_file_in_a_release_is_never_lost(release):
    folder = release().folder
    (folder / "notes.txt").write_text("precious")
    (folder / "model_index.json").unlink()  # so that it has to be written again
    with pytest.raises(InputError, match=r"not of the release there, 'notes\.txt'"):
        release()
    assert (folder / "notes.txt").read_text() == "precious"


def test_a_file_in_the_place_of_the_folder_is_left_alone(release, tmp_path):
    (tmp_path / "release").write_text("precious")
    with pytest.raises(InputError, match="is or holds something else"):
        release()
    assert (tmp_path / "release").read_text() == "precious"


def test_the_cards_example_runs_as_it_stands(release, monkeypatch):
    made = release()
    monkeypatch.chdir(made.folder)
    [code] = re.findall(r"```python\n(.*?)```", (made.folder / "README.md").read_text(), re.DOTALL)
    exec(
        code.replace("this folder", ".").replace(
            "use_resolution_binning", "num_inference_steps=2, use_resolution_binning"
        )
    )
    assert Image.open(made.folder / "picture.png").size == (64, 64)


def test_files_of_an_earlier_shape_of_the_model_leave_the_repository(release, hub):
    release(hub_model_id="tester/sana-emoji")
    held = hub.repositories["models", "tester/sana-emoji"]
    files = held.at("main")[1]
    held.commit(
        "main",
        files | {"transformer/old-00001-of-00002.safetensors": files["README.md"], "mine.txt": files["README.md"]},
    )
    release(hub_model_id="tester/sana-emoji", license="mit")
    now = hub.files("models", "tester/sana-emoji")
    assert "mine.txt" in now and "transformer/old-00001-of-00002.safetensors" not in now


def test_without_a_name_the_release_stays_in_the_store(release, tmp_path):
    assert release(release_dir=None).folder == tmp_path / "default"


def test_a_place_that_can_not_be_written_is_named(release, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        release(release_dir=str(tmp_path / "file" / "release"))


def test_a_push_makes_one_commit_whose_snapshot_is_the_folder(release, hub):
    made = release(hub_model_id="tester/sana-emoji")
    assert made.commit == hub.commits("models", "tester/sana-emoji")[-1]
    snapshot = snapshot_download("tester/sana-emoji", revision=made.commit, token="hf_test")
    for path in made.files:
        assert (made.folder / path).read_bytes() == Path(snapshot, path).read_bytes()
    assert SanaPipeline.from_pretrained(snapshot).transformer.config.num_layers == 4


def test_pushing_the_same_release_again_makes_no_commit(release, hub):
    first = release(hub_model_id="tester/sana-emoji")
    commits = hub.commits("models", "tester/sana-emoji")
    again = release(hub_model_id="tester/sana-emoji")
    assert hub.commits("models", "tester/sana-emoji") == commits
    assert again.commit == first.commit


def test_a_commit_is_tagged_with_the_model_version_once(release, hub, capsys):
    first = release(hub_model_id="tester/sana-emoji", model_version="3")
    repository = hub.repositories["models", "tester/sana-emoji"]
    assert repository.tags == {"3": first.commit}
    release(hub_model_id="tester/sana-emoji", model_version="4")
    assert repository.tags == {"3": first.commit}, "the same release is no other version"
    changed = release(hub_model_id="tester/sana-emoji", model_version="3", license="mit")
    assert changed.commit != first.commit
    assert repository.tags == {"3": first.commit}, "a tag that people may rely on stays"
    assert "has a tag '3' already" in capsys.readouterr().out


def test_what_was_pushed_is_fetched_again_and_compared(release, hub, monkeypatch):
    commit = Repository.commit

    def damaged(self, branch, files):
        samples = StoredFile(files["samples.png"].data[:-1]) if "samples.png" in files else None
        return commit(self, branch, files | ({"samples.png": samples} if samples else {}))

    monkeypatch.setattr(Repository, "commit", damaged)
    with pytest.raises(
        InputError, match=r"the hub holds another 'samples\.png' in 'tester/sana-emoji' than was pushed"
    ):
        release(hub_model_id="tester/sana-emoji")


def test_a_connection_that_is_cut_leaves_the_repository_as_it_was(release, hub):
    release(hub_model_id="tester/sana-emoji")
    before = hub.commits("models", "tester/sana-emoji")
    hub.fail_next("POST", "/commit/main", 502, 99)
    with pytest.raises(InputError, match="the hub answers 502"):
        release(hub_model_id="tester/sana-emoji", license="mit")
    assert hub.commits("models", "tester/sana-emoji") == before
    hub.failures.clear()
    release(hub_model_id="tester/sana-emoji", license="mit")
    assert len(hub.commits("models", "tester/sana-emoji")) == len(before) + 1


@pytest.mark.parametrize(
    ("auth", "orgs", "repo", "said"),
    [
        ({"role": "read"}, [], "tester/mine", "may only read there"),
        ({"role": "write"}, [], "somebody/mine", "name 'tester/mine'"),
        ({"role": "write"}, [{"name": "team", "roleInOrg": "read"}], "team/mine", "may not write to 'team'"),
        ({"role": "fineGrained", "fineGrained": {"scoped": []}}, [], "tester/mine", "may only read there"),
        (
            {
                "role": "fineGrained",
                "fineGrained": {"scoped": [{"entity": {"name": "x"}, "permissions": ["repo.write"]}]},
            },
            [],
            "tester/mine",
            "may only read there",
        ),
    ],
)
def test_a_token_that_may_not_write_is_found_before_training(auth, orgs, repo, said, hub, monkeypatch):
    monkeypatch.setattr(hub, "auth", {"accessToken": auth})
    monkeypatch.setattr(hub, "orgs", orgs)
    with pytest.raises(InputError, match=said):
        check_write_access(repo)
    assert {method for method, _ in hub.requests} == {"GET"}, "nothing was changed there"


@pytest.mark.parametrize(
    ("auth", "orgs", "repo"),
    [
        ({"role": "write"}, [], "tester/mine"),
        ({"role": "write"}, [{"name": "team", "roleInOrg": "write"}], "team/mine"),
        (
            {
                "role": "fineGrained",
                "fineGrained": {"scoped": [{"entity": {"name": "tester"}, "permissions": ["repo.write"]}]},
            },
            [],
            "tester/mine",
        ),
    ],
)
def test_a_token_that_may_write_is_let_pass(auth, orgs, repo, hub, monkeypatch):
    monkeypatch.setattr(hub, "auth", {"accessToken": auth})
    monkeypatch.setattr(hub, "orgs", orgs)
    check_write_access(repo)
    assert hub.requests == [("GET", "/api/whoami-v2")], "the hub was asked, and nothing was changed there"


def test_an_expired_or_missing_token_is_found_before_training(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired_secret")
    with pytest.raises(InputError, match=r"refuses to write 'tester/mine' \(401\)"):
        check_write_access("tester/mine")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="there is no hub token"):
        check_write_access("tester/mine")


def test_the_cards_metadata_is_what_the_hub_reads(release, tuned, hub):
    card = ModelCard.load(release(license="mit").folder / "README.md")
    assert card.data.license == "mit"
    assert card.data.base_model is None, "a folder is no base model that others can find"
    [first, *_] = card.data.widget
    assert first["text"] == "a"
    clip, gain = card.data.eval_results
    assert (clip.metric_value, gain.metric_value) == (19.0, 4.0)
    assert clip.metric_type == "clip_score"


def test_the_card_of_a_hub_model_names_it_and_carries_its_licence_over(tuned, small_sana, hub, tmp_path):
    commit = hub.add_repo("models", "lab/sana", {"README.md": b"---\nlicense: apache-2.0\n---\n"})
    on_hub = replace(small_sana, name="lab/sana", commit=commit)
    assert license_of(on_hub) == "apache-2.0"
    adapter = replace(tuned, kind="lycoris", base_model=f"lab/sana@{commit}")
    text = model_card(
        adapter, SCORES, GALLERY, PublishingSettings(), model=on_hub, license="apache-2.0", made_by={"torch": "2.14"}
    )
    data = ModelCard(text).data
    assert (data.base_model, data.base_model_relation, data.license) == ("lab/sana", "adapter", "apache-2.0")
    assert "- torch: 2.14" in text


def test_an_expired_token_is_one_line_and_never_shown(release, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired_secret")
    with pytest.raises(
        InputError, match=r"refuses to write 'tester/sana-emoji' \(401\): the token is expired"
    ) as caught:
        release(hub_model_id="tester/sana-emoji")
    assert "hf_expired_secret" not in caught.value.message


def test_no_token_says_how_to_get_one(release, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError, match="there is no hub token: set HF_TOKEN"):
        release(hub_model_id="tester/sana-emoji")


def test_an_upload_that_fails_for_good_is_one_line(release, hub):
    hub.fail_next("PUT", "/lfs/", 403, 99)
    with pytest.raises(InputError, match=r"the hub refuses to write 'tester/sana-emoji' \(403\)"):
        release(hub_model_id="tester/sana-emoji")


def test_an_upload_survives_a_hub_that_is_busy_for_a_moment(release, hub):
    hub.fail_next("PUT", "/lfs/", 503, 1)
    assert release(hub_model_id="tester/sana-emoji").commit


def test_a_hub_that_fails_leaves_the_folder_and_says_so(release, hub):
    hub.fail_next("POST", "/api/repos/create", 500, 99)
    with pytest.raises(InputError, match="the hub answers 500"):
        release(hub_model_id="tester/sana-emoji")


def test_a_killed_release_is_whole_or_not_there(tmp_path):
    script = f"""
from pathlib import Path
import hashlib, os
from sanaflow.publishing.release import write_folder
source = Path({str(tmp_path / "source")!r})
digest = hashlib.sha256(source.read_bytes()).hexdigest()
paths = [f"{{i}}/file" for i in range(200)]
write_folder(Path({str(tmp_path / "release")!r}), dict.fromkeys(paths, source), dict.fromkeys(paths, digest))
"""
    (tmp_path / "source").write_bytes(os.urandom(1_000_000))
    process = subprocess.Popen([sys.executable, "-c", script])
    while not list(tmp_path.glob(".release.*")) and process.poll() is None:
        pass
    process.kill()
    process.wait()
    assert not (tmp_path / "release").exists() or (tmp_path / "release" / "manifest.json").is_file()
    subprocess.run([sys.executable, "-c", script], check=True)
    assert len(list((tmp_path / "release").rglob("file"))) == 200


@pytest.mark.parametrize("kind", ["full", "standard", "lycoris"])
def test_the_cards_own_code_draws_with_the_released_weights(kind, talkative_sana, tmp_path):
    settings = TrainingSettings(**({} if kind == "full" else {"model_type": "lora", "lora_type": kind}))
    tunable = load_tunable(talkative_sana, settings, torch.device("cpu"))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in tunable.weights().values():
            weight.add_(0.02 * torch.randn_like(weight))
    for folder in (tmp_path / "made", tmp_path / "made/ema"):
        tunable.save(folder, {name: weight.detach().clone() for name, weight in tunable.weights().items()})
    folder = (tmp_path / "made").rename(tmp_path / weights_digest(tmp_path / "made"))
    data = {"latents": "0" * 64, "captions": "1" * 64}
    made = SanaModel(folder, 5, talkative_sana.name, talkative_sana.digest(), data, {}, kind=kind, ema=True)
    release = publish(
        made,
        model=talkative_sana,
        scores=SCORES,
        gallery=GALLERY,
        settings=PublishingSettings(release_dir=str(tmp_path / "release")),
        default_folder=tmp_path / "default",
    )
    card = (release.folder / "README.md").read_text()
    code = re.search(r"```python\n(.*?)pipeline\(", card, re.DOTALL)[1]
    places = {"this folder": str(release.folder), "the folder of the base model": talkative_sana.name}
    places['"pytorch_lora'] = f'"{release.folder}/pytorch_lora'
    for said, place in places.items():
        code = code.replace(said, place)
    scope: dict = {}
    exec(code, scope)
    noisy, texts = torch.randn(1, 16, 8, 8), torch.randn(1, 5, 64)
    asked = {"encoder_hidden_states": texts, "timestep": torch.tensor([500.0]), "return_dict": False}
    with torch.no_grad():
        expected = tunable.transformer.eval()(noisy, **asked)[0]
        torch.testing.assert_close(scope["pipeline"].transformer(noisy, **asked)[0], expected, rtol=1e-3, atol=1e-4)
    place = {"full": "transformer_ema/config.json"}.get(kind, "ema/pytorch_lora_weights.safetensors")
    assert place in release.files and "holds the moving average" in card
    assert ("vae/config.json" in release.files) == (kind == "full"), "an adapter is released alone"
