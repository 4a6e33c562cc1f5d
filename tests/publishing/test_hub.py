"""A push, by huggingface_hub's real client over HTTP: one commit, whole or not at all, whatever fails on the way."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from diffusers import SanaPipeline
from huggingface_hub import snapshot_download
from huggingface_hub.utils import _http
from tenacity import wait_none

import sanaflow.publishing.hub as publishing_hub
from sanaflow.digests import file_digest
from sanaflow.errors import InputError
from sanaflow.publishing.hub import check_write_access, push, push_checkpoint
from tests.environment import PROJECT
from tests.servers.hub import Repository, StoredFile

REPO = "tester/sana-emoji"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(publishing_hub, "WAIT", wait_none())
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A release with a large file and small ones."""
    made = tmp_path / "made"
    (made / "transformer").mkdir(parents=True)
    (made / "README.md").write_text("---\nlicense: mit\n---\n# Sana\n")
    (made / "transformer/config.json").write_text("{}")
    (made / "transformer/weights.safetensors").write_bytes(os.urandom(200_000))
    return made


def digests(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): file_digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def push_to(folder: Path, tag: str = "3") -> str:
    return push(folder, digests(folder), repo=REPO, private=True, tag=tag)[0]


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


@pytest.mark.parametrize("how", [429, 503, "cut", "stall", "answer lost"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/repos/create"),
        ("GET", "/refs"),
        ("GET", "/tree/"),
        ("POST", "/preupload/"),
        ("POST", "/objects/batch"),
        ("PUT", "/lfs/"),
        ("POST", "/commit/main"),
        ("GET", "/resolve/"),
        ("POST", "/tag/"),
    ],
)
def test_a_push_survives_each_fault_with_one_commit_and_its_tag(how, method, path, folder, hub, monkeypatch):
    monkeypatch.setattr(publishing_hub, "TIMEOUT_SECONDS", 0.5)
    hub.fail_next(method, path, how, 1 if how == "answer lost" else 2)
    commit = push_to(folder)
    assert not hub.failures, "each fault was met"
    repository = hub.repositories["models", REPO]
    assert len(repository.branches["main"]) == 2, "the empty repository, and the release"
    assert repository.branches["main"][-1] == commit
    assert repository.tags == {"3": commit}
    assert hub.files("models", REPO) == {path: (folder / path).read_bytes() for path in digests(folder)}


def test_a_push_killed_in_the_middle_leaves_the_repository_as_it_was_and_the_next_ends_it(folder, hub, tmp_path):
    before = push_to(folder, tag="1")
    (folder / "transformer/weights.safetensors").write_bytes(os.urandom(200_000))
    hub.fail_next("POST", "/commit/main", "stall")
    script = f"""
from pathlib import Path
from sanaflow.publishing.hub import push
push(Path({str(folder)!r}), {digests(folder)!r}, repo={REPO!r}, private=True, tag="2")
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT)
    until = time.monotonic() + 120
    while hub.failures and time.monotonic() < until:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not hub.failures
    repository = hub.repositories["models", REPO]
    assert repository.branches["main"][-1] == before and repository.tags == {"1": before}
    after = push_to(folder, tag="2")
    assert repository.branches["main"][-2:] == [before, after]
    assert repository.tags == {"1": before, "2": after}


def test_a_commit_without_its_tag_is_compared_and_tagged_by_the_next_push(folder, hub):
    commit = push_to(folder)
    hub.repositories["models", REPO].tags.clear()  # as after a kill right after the commit
    hub.requests.clear()
    assert push_to(folder) == commit
    assert hub.repositories["models", REPO].tags == {"3": commit}
    assert any("/resolve/" in path for _, path in hub.requests)


def test_checkpoints_are_commits_of_a_branch_that_the_release_knows_nothing_of(folder, hub, tmp_path):
    main = push_to(folder)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    made = []
    for step in (2, 4):
        (adapter / "pytorch_lora_weights.safetensors").write_bytes(f"{step}".encode() * 100)
        hub.fail_next("POST", "/commit/checkpoints", 503)
        made.append(push_checkpoint(adapter, repo=REPO, private=True, step=step))
    assert push_checkpoint(adapter, repo=REPO, private=True, step=4) == made[-1], "a run that resumes pushes it again"
    assert hub.commits("models", REPO, "checkpoints")[-2:] == made
    for commit, step in zip(made, (b"2", b"4"), strict=True):
        assert hub.files("models", REPO, commit) == {"pytorch_lora_weights.safetensors": step * 100}
    assert hub.commits("models", REPO)[-1] == main
