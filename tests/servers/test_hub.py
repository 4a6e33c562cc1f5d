"""The hub answers huggingface_hub as the real one does."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError as UrlError
from urllib.request import Request, urlopen

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import _http

from .hub import HubServer

REPO = "tester/sana"
FILES = {
    "README.md": b"---\nlicense: apache-2.0\n---\n# Sana\n",
    "empty.safetensors": b"",
    "samples/two words é.png": bytes(range(256)) * 9,
    "transformer/config.json": b'{"layers": 2}',
    "transformer/weights.safetensors": bytes(range(256)) * 5000,
}
WEIGHTS = "transformer/weights.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with HubServer(token="hf_test", user="tester") as server:
        yield server


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    return HfApi(endpoint=hub.url, token="hf_test")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that huggingface_hub would have waited between its tries."""
    seconds: list[float] = []
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=seconds.append))
    return seconds


def push(api: HfApi, files: dict[str, bytes], **options: Any) -> str:
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    return api.create_commit(REPO, operations, commit_message="Push", **options).oid


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def read(folder: str | Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_pushed_folder_comes_back_as_it_was(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    api.create_repo(REPO)
    pushed = api.upload_folder(repo_id=REPO, folder_path=write(tmp_path / "release", FILES))
    assert hub.files("models", REPO) == FILES
    assert hub.commits("models", REPO)[1:] == [pushed.oid]
    assert pushed.commit_url == f"{hub.url}/{REPO}/commit/{pushed.oid}"

    snapshot = Path(api.snapshot_download(REPO, cache_dir=tmp_path / "cache"))
    assert read(snapshot) == FILES
    assert snapshot.name == pushed.oid
    assert sorted(api.list_repo_files(REPO)) == sorted(FILES)


def test_large_files_go_through_lfs(hub: HubServer, api: HfApi) -> None:
    api.create_repo(REPO)
    push(api, FILES)
    siblings = {s.rfilename: s for s in api.model_info(REPO, files_metadata=True).siblings or []}
    in_lfs = {path: s.lfs.sha256 for path, s in siblings.items() if s.lfs}
    big = [path for path in FILES if path.endswith((".png", "weights.safetensors"))]
    assert in_lfs == {path: hashlib.sha256(FILES[path]).hexdigest() for path in big}
    assert len([1 for method, _ in hub.requests if method == "PUT"]) == len(big)
    assert {path: s.size for path, s in siblings.items()} == {path: len(data) for path, data in FILES.items()}
    # What `git hash-object` says of {"layers": 2}.
    assert siblings["transformer/config.json"].blob_id == "56ba9283acfa5b9d205a78bef5e1cc2b1b00c022"


def test_same_push_again_makes_no_commit(hub: HubServer, api: HfApi) -> None:
    api.create_repo(REPO)
    first = push(api, FILES)
    commits = hub.commits("models", REPO)
    hub.requests.clear()

    assert push(api, FILES) == first
    assert hub.commits("models", REPO) == commits
    assert not [path for method, path in hub.requests if method == "PUT" or "/commit/" in path]

    second = push(api, FILES | {WEIGHTS: b"retrained"})
    assert hub.commits("models", REPO) == [*commits, second]
    assert hub.files("models", REPO)[WEIGHTS] == b"retrained"
    assert hub.files("models", REPO, first) == FILES


def test_seeded_repository_counts_as_pushed(hub: HubServer, api: HfApi) -> None:
    seeded = hub.add_repo("models", REPO, FILES)
    assert push(api, FILES) == seeded
    assert hub.commits("models", REPO) == [seeded]
    with pytest.raises(ValueError, match="exists"):
        hub.add_repo("models", REPO, {})


def test_stale_parent_is_refused(hub: HubServer, api: HfApi) -> None:
    seeded = hub.add_repo("models", REPO, FILES)
    push(api, {"new.txt": b"1"}, parent_commit=seeded)
    with pytest.raises(HfHubHTTPError) as caught:
        push(api, {"new.txt": b"2"}, parent_commit=seeded)
    assert caught.value.response.status_code == 412
    assert hub.files("models", REPO)["new.txt"] == b"1"


@pytest.mark.parametrize("token", ["hf_wrong", False])
def test_wrong_or_missing_token_may_not_write(hub: HubServer, token: str | bool) -> None:
    seeded = hub.add_repo("models", REPO, FILES)
    api = HfApi(endpoint=hub.url, token=token)
    writes = (
        lambda: push(api, {"new.txt": b"new"}),
        lambda: api.create_repo("tester/other"),
        lambda: api.create_branch(REPO, branch="other"),
    )
    for attempt in writes:
        with pytest.raises(HfHubHTTPError) as caught:
            attempt()
        assert caught.value.response.status_code == 401
    assert hub.commits("models", REPO) == [seeded]
    assert list(hub.repositories) == [("models", REPO)]


def test_whoami_needs_the_token(hub: HubServer, api: HfApi) -> None:
    assert api.whoami()["name"] == "tester"
    with pytest.raises(HfHubHTTPError) as caught:
        HfApi(endpoint=hub.url, token="hf_wrong").whoami()
    assert caught.value.response.status_code == 401


def test_repository_that_exists_is_a_conflict(hub: HubServer, api: HfApi) -> None:
    api.create_repo(REPO, private=True)
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_repo(REPO)
    assert caught.value.response.status_code == 409
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    assert api.model_info(REPO).private is True


def test_lfs_upload_survives_two_503s(hub: HubServer, api: HfApi, waits: list[float]) -> None:
    api.create_repo(REPO)
    hub.fail_next("PUT", "/lfs/", 503, times=2)
    push(api, {WEIGHTS: FILES[WEIGHTS]})
    assert [method for method, _ in hub.requests].count("PUT") == 3
    assert waits == [1, 2]
    assert hub.files("models", REPO) == {WEIGHTS: FILES[WEIGHTS]}


def test_lfs_upload_gives_up_on_the_sixth_503(hub: HubServer, api: HfApi, waits: list[float]) -> None:
    """What surfaces is a RuntimeError, with the HTTP error as its cause."""
    api.create_repo(REPO)
    hub.fail_next("PUT", "/lfs/", 503, times=6)
    with pytest.raises(RuntimeError, match=f"Error while uploading '{WEIGHTS}'") as caught:
        push(api, {WEIGHTS: FILES[WEIGHTS]})
    assert isinstance(caught.value.__cause__, HfHubHTTPError)
    assert caught.value.__cause__.response.status_code == 503
    assert waits == [1, 2, 4, 8, 8]
    assert hub.files("models", REPO) == {}


def test_commit_is_not_retried(hub: HubServer, api: HfApi) -> None:
    seeded = hub.add_repo("models", REPO, FILES)
    hub.fail_next("POST", f"/{REPO}/commit/main", 500)
    with pytest.raises(HfHubHTTPError) as caught:
        push(api, {"new.txt": b"new"})
    assert caught.value.response.status_code == 500
    assert hub.commits("models", REPO) == [seeded]
    push(api, {"new.txt": b"new"})
    assert hub.files("models", REPO)["new.txt"] == b"new"


def test_private_repository_is_invisible_without_token(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    hub.add_repo("models", REPO, FILES, private=True)
    stranger = HfApi(endpoint=hub.url, token=False)
    with pytest.raises(RepositoryNotFoundError) as caught:
        stranger.model_info(REPO)
    assert caught.value.response.status_code == 401
    with pytest.raises(RepositoryNotFoundError):
        stranger.hf_hub_download(REPO, "README.md", cache_dir=tmp_path)
    assert Path(api.hf_hub_download(REPO, "README.md", cache_dir=tmp_path)).read_bytes() == FILES["README.md"]

    hub.add_repo("models", "tester/public", FILES)
    assert stranger.model_info("tester/public").private is False


def test_what_is_not_there_is_told_apart(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    hub.add_repo("models", REPO, FILES)
    with pytest.raises(RepositoryNotFoundError) as caught:
        api.model_info("tester/nothing")
    assert caught.value.response.status_code == 404
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO, revision="v9")
    with pytest.raises(RevisionNotFoundError):
        api.snapshot_download(REPO, revision="v9", cache_dir=tmp_path)
    with pytest.raises(RemoteEntryNotFoundError):
        api.hf_hub_download(REPO, "nothing.txt", cache_dir=tmp_path)


def test_branches_move_apart(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    seeded = hub.add_repo("models", REPO, FILES)
    api.create_branch(REPO, branch="release/1")
    pushed = push(api, {"new.txt": b"new"}, revision="release/1")
    branches = {branch.name: branch.target_commit for branch in api.list_repo_refs(REPO).branches}
    assert branches == {"main": seeded, "release/1": pushed}
    assert hub.commits("models", REPO, "release/1") == [seeded, pushed]
    assert "new.txt" not in hub.files("models", REPO)
    file = api.hf_hub_download(REPO, "new.txt", revision="release/1", cache_dir=tmp_path)
    assert Path(file).read_bytes() == b"new"
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_branch(REPO, branch="release/1")
    assert caught.value.response.status_code == 409


def test_datasets_are_apart_from_models(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    hub.add_repo("datasets", REPO, {"train.parquet": b"rows"})
    assert api.list_repo_files(REPO, repo_type="dataset") == ["train.parquet"]
    file = api.hf_hub_download(REPO, "train.parquet", repo_type="dataset", cache_dir=tmp_path)
    assert Path(file).read_bytes() == b"rows"
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(REPO)
    api.create_repo("tester/made", repo_type="dataset")
    api.upload_file(path_or_fileobj=b"x" * 99, path_in_repo="a.parquet", repo_id="tester/made", repo_type="dataset")
    assert hub.files("datasets", "tester/made") == {"a.parquet": b"x" * 99}


@pytest.mark.parametrize(("wanted", "part"), [("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=8-99", b"89")])
def test_range_gives_part_of_a_file(hub: HubServer, wanted: str, part: bytes) -> None:
    hub.add_repo("models", REPO, {"digits.txt": b"0123456789"})
    url = f"{hub.url}/{REPO}/resolve/main/digits.txt"
    with urlopen(Request(url, headers={"Range": wanted})) as response:
        assert (response.status, response.read()) == (206, part)
        assert response.headers["Content-Range"].endswith("/10")
    with pytest.raises(UrlError) as caught:
        urlopen(Request(url, headers={"Range": "bytes=10-"}))
    assert caught.value.code == 416
    caught.value.close()


def test_closed_hub_is_gone(hub: HubServer) -> None:
    with HubServer() as other:
        api = HfApi(endpoint=other.url, token="hf_test")
        assert api.whoami()["name"] == "tester"
    with pytest.raises(HTTPError):
        api.whoami()


CLIENT = """
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download
api = HfApi()
api.create_repo("tester/sana", private=True)
done = api.create_commit("tester/sana", [CommitOperationAdd("a.safetensors", b"weights")], commit_message="Push")
print(done.oid, snapshot_download("tester/sana"))
"""


def test_client_finds_the_hub_in_its_environment(hub: HubServer, tmp_path: Path) -> None:
    """As a program does that names no endpoint."""
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "hf_test",
    }
    done = subprocess.run(
        [sys.executable, "-c", CLIENT], env=os.environ | settings, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    oid, folder = done.stdout.split()
    assert hub.commits("models", REPO)[1:] == [oid]
    assert read(folder) == {"a.safetensors": b"weights"}
    assert hub.repositories["models", REPO].private
