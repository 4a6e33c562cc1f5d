import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import SanaPipeline
from huggingface_hub import ModelCard
from PIL import Image

from sanaflow.config import PublishingSettings
from sanaflow.errors import InputError
from sanaflow.publishing.model_card import license_of, model_card
from tests.publishing.conftest import GALLERY, SCORES


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


def test_without_a_name_the_release_stays_in_the_store(release, tmp_path):
    assert release(release_dir=None).folder == tmp_path / "default"


def test_a_place_that_can_not_be_written_is_named(release, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        release(release_dir=str(tmp_path / "file" / "release"))


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
