"""Lineage on a real ZenML store: two versions, the second gone on from the first, on other pictures."""

import json
import shutil
import subprocess
import uuid
from dataclasses import replace
from hashlib import sha256

import pytest
from click.testing import CliRunner
from zenml.client import Client

from pipelines.lineage.checkout import run_at
from pipelines.lineage.command import lineage
from pipelines.lineage.compare import compare
from pipelines.lineage.rebuild import rebuild
from sanaflow.errors import InputError
from sanaflow.lineage.page import lineage_page
from sanaflow.lineage.records import Record
from tests.end_to_end.browsing import browser_page, needs_chromium
from tests.end_to_end.test_finetune import run
from tests.environment import PROJECT

MODEL = f"lineage-{uuid.uuid4().hex[:8]}"
FOLDERS: dict = {}
HEAD = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True).stdout.strip()
SHORT = {"max_train_steps": 2}
QUICK = {
    "validation": {"validation_prompt": None, "validation_steps": 3},
    "evaluation": {"evaluation_prompts_limit": 2},
    "promotion": {"min_clip_gain": None},
}


def call(command, *arguments, code=0):
    ended = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert not ended.exception or isinstance(ended.exception, SystemExit), ended.exception
    assert ended.exit_code == code, ended.output
    return ended.output


@pytest.fixture
def pictures_then(write_run, pictures, hub, monkeypatch):
    """The folder as the second version saw it; both are trained once, for all tests here."""
    if not FOLDERS:
        monkeypatch.setenv("HF_TOKEN", hub.token)
        monkeypatch.setattr("pipelines.strict.code_commit", lambda: HEAD)  # as if what is edited here were committed
        model = {"model": {"name": MODEL}}
        run(write_run(model, training=SHORT, **QUICK))
        (pictures / "panda.webp").unlink()
        (pictures / "rocket.webp").rename(pictures / "a rocket.webp")
        shutil.copy(PROJECT / "assets/pictures/umbrella.webp", pictures)
        more = SHORT | {"learning_rate": 2.0e-3, "start_from": "champion"}
        run(write_run(model, training=more, publishing={"hub_model_id": "tester/lineage"}, **QUICK))
        FOLDERS["pictures"] = pictures
    return FOLDERS["pictures"]


def picture(name):
    return PROJECT / "assets/pictures" / f"{name}.webp"


def test_a_version_and_its_release_lead_to_the_very_pictures(pictures_then):
    said = call(lineage, f"{MODEL}@2", "--pictures")
    for expected in (f"{MODEL}@2, staging", "tester/lineage", str(pictures_then), "umbrella.webp", "gain", "promoted"):
        assert expected in said
    assert "panda.webp" not in said
    assert f"began with  {MODEL}@1" in said
    [found] = json.loads(call(lineage, f"{MODEL}@staging", "--json", "--pictures"))
    assert found["sources"] == {"set": f"local: {pictures_then}"}
    assert {used["id"] for used in found["pictures_used"]} == {
        sha256(path.read_bytes()).hexdigest() for path in pictures_then.iterdir()
    }
    commit = found["release"]["commit"]
    for revision in ("", f"@{commit}", f"@{commit[:8]}", "@2"):
        assert call(lineage, f"tester/lineage{revision}") == call(lineage, f"{MODEL}@2")
    assert "no release of a model version: did you mean" in call(lineage, "tester/linage", code=1)
    here = "http://127.0.0.1:8237"
    assert f"{here}/projects/default/runs/{found['run_id']}" in call(lineage, f"{MODEL}@2", "--dashboard", f"{here}/")
    assert "is no address" in call(lineage, "--dashboard", "javascript:alert(1)", code=1)
    assert MODEL in call(lineage)


def test_all_versions_become_one_page(pictures_then, tmp_path):
    page = tmp_path / "lineage.html"
    call(lineage, "--html", page)
    assert f"{MODEL}@1" in page.read_text() and f"{MODEL}@2" in page.read_text()
    assert "can't be written" in call(lineage, "--html", tmp_path / "missing" / "page.html", code=1)
    assert "ask one" in call(lineage, f"{MODEL}@1", "--html", page, code=1)


def test_a_picture_or_caption_leads_to_all_models_it_was_used_in(pictures_then):
    def uses(*arguments):
        found = json.loads(call(lineage, *arguments, "--json"))
        return {use["version"]: use["role"] for use in found if use["version"].startswith(MODEL)}

    one, two = f"{MODEL}@1", f"{MODEL}@2"
    assert uses(picture("banana")) == {one: "train", two: "train"}
    assert uses(sha256(picture("umbrella").read_bytes()).hexdigest()) == {two: "train"}
    assert uses(picture("panda")) == {one: "train", two: f"began with {one}"}
    assert uses("--caption", "A Rocket") == {two: "train"}
    assert uses("--caption", "*rocket") == {one: "train", two: "train"}
    assert uses(picture("airplane")) == {}
    assert "no model version saw it" in call(lineage, "0" * 64)
    assert "is no file here" in call(lineage, "nowhere.webp", code=1)
    assert f"there are {two}, {one}" in call(lineage, f"{MODEL}@7", code=1)


def test_two_versions_side_by_side(pictures_then):
    found = json.loads(call(compare, f"{MODEL}@1", f"{MODEL}@2", "--json"))
    assert found["settings"]["training.learning_rate"] == [1.0e-3, 2.0e-3]
    assert "training.max_train_steps" not in found["settings"]
    assert found["data"] == {"added": 1, "removed": 1, "kept": 4, "other_captions": 1}
    said = call(compare, f"{MODEL}@1", f"{MODEL}@2")
    assert "score, gain" in said and "training.start_from" in said
    assert f"1 only in {MODEL}@1, 1 only in {MODEL}@2" in said


def test_a_rebuild_gives_the_same_weights_or_says_what_changed(pictures_then):
    versions = len(Client().list_model_versions(model=MODEL))
    assert "the same weights" in call(rebuild, f"{MODEL}@2")
    panda = picture("panda")
    shutil.copy(panda, pictures_then)
    said = call(rebuild, f"{MODEL}@2", "--dry-run")
    assert "(1 added, 0 removed, 5 kept, 0 other captions)" in said and "weights" not in said
    said = call(rebuild, f"{MODEL}@2", code=1)
    assert "other weights" in said and "the largest difference of any weight" in said
    assert "(1 added, 0 removed, 5 kept, 0 other captions)" in said.partition("what has changed:")[2]
    assert "latents: " in said and "captions: " in said
    (pictures_then / "panda.webp").unlink()
    assert len(Client().list_model_versions(model=MODEL)) == versions, "a rebuild is no new version"


def test_the_code_of_then_is_checked_out_for_a_rebuild(pictures_then, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call(rebuild, f"{MODEL}@2", "--dry-run", "--checkout")
    assert "as they were" in capfd.readouterr().out
    trees = subprocess.run(["git", "worktree", "list"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert "sanaflow-" not in trees, "it is removed again"
    for commit, said in ((None, "is unknown"), (f"{HEAD}-dirty", "is lost"), ("0" * 40, "can't be checked out")):
        with pytest.raises(InputError, match=said):
            run_at(commit, "rebuild")


def fifty_versions() -> list[Record]:
    """Data that change every seventh version, captions every eleventh; each tenth begins with the one before."""
    first = Record(
        "sana@1",
        settings={"datasets": [{"id": "set <b>", "instance_data_dir": "/pictures"}]},
        pictures=100,
        base_model="owner/base",
        kind="full",
        steps=1000,
        run_url="javascript:alert(1)",
    )
    return [
        replace(
            first,
            name=f"sana@{i}",
            number=i,
            created=f"2026-{i // 5 + 1:02d}-{i % 5 + 1:02d} 10:00:00",
            run=f"finetune-2026_01_01-10_00_00_{i:06d}",
            run_id=f"run{i}",
            run_url=f"https://zenml.example/runs/run{i}" if i > 1 else first.run_url,
            data={
                "images": f"images{i // 7:04d}",
                "latents": f"latents{i // 7:04d}",
                "captions": f"captions{i // 11:04d}",
            },
            weights=f"weights{i:04d}",
            started_from=f"weights{i - 1:04d}" if i % 10 == 0 else None,
            scores={"gain": [0.5, None, None]},
            release={"repo": "me/tuned", "commit": f"{i:040d}", "url": f"https://hub.example/{i}", "folder": "/x"},
        )
        for i in range(1, 51)
    ]


def test_fifty_versions_are_one_page_without_the_network():
    page = lineage_page(fifty_versions())
    assert "<b>" not in page and "javascript:" not in page
    assert 'src="' not in page and "@import" not in page and "url(http" not in page
    assert page.count('href="https://zenml.example/runs/run50"') == 2, "in the graph and in the table"
    assert "none yet" in lineage_page([])


@needs_chromium
def test_the_page_shows_what_hangs_together(tmp_path):
    (tmp_path / "page.html").write_text(lineage_page(fifty_versions()))
    with browser_page() as page:
        asked, wrong = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(error))
        page.goto(f"file://{tmp_path}/page.html")
        rows, bright = page.locator("tr[data-row]:visible"), page.locator('svg [id$="-label"]:not(.off)')
        assert rows.count() == 50
        boxes = [box for box in page.evaluate(BOXES) if box["id"]]
        assert len(boxes) == 50 * 3 + 8 + 8 + 5 + 1
        assert not any(overlap(a, b) for a in boxes for b in boxes if a["id"] < b["id"])
        page.get_by_role("searchbox").fill("latents0003")
        assert sorted(rows.locator("td:first-child").all_inner_texts()) == [f"sana@{i}" for i in range(21, 28)]
        page.get_by_role("searchbox").fill("")
        page.locator("svg g", has_text="sana@50 +0.50").last.dispatch_event("click")
        assert rows.locator("td:first-child").all_inner_texts() == ["sana@50", "sana@49"], "it began with that"
        assert bright.count() < 20
        assert not wrong
        assert asked == [f"file://{tmp_path}/page.html"]


BOXES = """[...document.querySelectorAll("svg g[id^=n]")].filter(g => /^n\\d+$/.test(g.id))
  .map(g => ({id: g.id, ...g.getBoundingClientRect().toJSON()}))"""


def overlap(a, b) -> bool:
    return a["left"] < b["right"] and b["left"] < a["right"] and a["top"] < b["bottom"] and b["top"] < a["bottom"]
