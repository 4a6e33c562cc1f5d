"""A small Hugging Face Hub in memory, over real HTTP on loopback: models and datasets, regular and LFS files.

Point huggingface_hub 2.4 at it with `endpoint=hub.url`, or with HF_ENDPOINT set before it is imported. It has no Xet:
set HF_HUB_DISABLE_XET=1 too. Commits add and change files, never delete; trees list files at any depth, no folders.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.servers.loopback import LoopbackHandler, LoopbackServer

LFS_PATH = re.compile(r".+\.(safetensors|bin|pt|ckpt|onnx|model|png|jpe?g|webp|parquet|arrow|tar|zip)")

Reply = tuple[int, Any, dict[str, str]]  # status, body (bytes, or what becomes JSON) and headers


class Refusal(Exception):
    """An HTTP error to answer with; `code` tells huggingface_hub which of its errors to raise."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str):
        codes = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.reply: Reply = (status, {"error": message}, codes | headers)


@dataclass(frozen=True)
class StoredFile:
    """One version of a file; `sha256` is set when it is in LFS."""

    data: bytes
    sha256: str | None = None

    @property
    def blob(self) -> bytes:
        """What git itself holds: the data, or the pointer to LFS."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        return pointer.encode() if self.sha256 else self.data

    @property
    def blob_id(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.blob) + self.blob).hexdigest()

    def describe(self, blob_key: str, sha256_key: str) -> dict[str, Any]:
        """Sizes and ids under the names of either kind of listing."""
        lfs = {sha256_key: self.sha256, "size": len(self.data), "pointerSize": len(self.blob)}
        return {"size": len(self.data), blob_key: self.blob_id} | ({"lfs": lfs} if self.sha256 else {})


@dataclass
class Repository:
    """Each branch is a list of commits, oldest first; each commit has all its files."""

    name: str
    private: bool
    branches: dict[str, list[str]] = field(default_factory=lambda: {"main": []})
    history: dict[str, dict[str, StoredFile]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, StoredFile]) -> str:
        """Add a commit that holds just these files."""
        blobs = sorted((path, stored.blob_id) for path, stored in files.items())
        oid = hashlib.sha1(repr((self.name, len(self.history), blobs)).encode()).hexdigest()
        self.history[oid] = files
        self.branches[branch].append(oid)
        return oid

    def at(self, revision: str) -> tuple[str, dict[str, StoredFile]]:
        """The commit that has this id or tag, or that the branch ends with, and its files."""
        oid = self.branches.get(revision, [self.tags.get(revision, revision)])[-1]
        if oid not in self.history:
            raise Refusal(404, "Invalid rev id", "RevisionNotFound")
        return oid, self.history[oid]


class HubServer(LoopbackServer):
    """The hub: a context manager that serves at `url` while it is open; `requests` lists each (method, path) it got."""

    def __init__(self, token: str = "hf_test", user: str = "tester"):
        super().__init__(_Handler)
        self.token = token
        self.user = user
        self.requests: list[tuple[str, str]] = []
        self.failures: list[tuple[str, str, int | str]] = []
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.lfs_objects: dict[str, bytes] = {}
        self.orgs: list[dict[str, str]] = []
        self.auth: dict[str, Any] = {"type": "access_token", "accessToken": {"displayName": "tests", "role": "write"}}
        self.lock = threading.Lock()
        self.closing = threading.Event()

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        super().__exit__(*error)

    def add_repo(self, kind: str, repo_id: str, files: dict[str, bytes], private: bool = False) -> str:
        """Make a repository of "models" or "datasets" with these files; returns its first and only commit."""
        if kind not in ("models", "datasets") or (kind, repo_id) in self.repositories:
            raise ValueError(f"{kind}/{repo_id} exists, or is of neither models nor datasets")
        stored = {path: StoredFile(data) for path, data in files.items()}
        for path, data in files.items():
            if _goes_to_lfs(path, len(data)):
                sha256 = hashlib.sha256(data).hexdigest()
                stored[path] = StoredFile(data, sha256)
                self.lfs_objects[sha256] = data
        self.repositories[kind, repo_id] = Repository(f"{kind}/{repo_id}", private)
        return self.repositories[kind, repo_id].commit("main", stored)

    def files(self, kind: str, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """The content of every file at a branch or commit."""
        return {path: stored.data for path, stored in self.repositories[kind, repo_id].at(revision)[1].items()}

    def commits(self, kind: str, repo_id: str, branch: str = "main") -> list[str]:
        """A branch's commits, oldest first."""
        return list(self.repositories[kind, repo_id].branches[branch])

    def fail_next(self, method: str, path_regex: str, how: int | str, times: int = 1) -> None:
        """Let the next `times` requests whose method is this and whose path matches somewhere fail.

        Args:
            method: GET, POST, ...
            path_regex: Of their paths.
            how: An HTTP status; 'cut', the connection is closed before anything is done; 'answer lost', it is closed
                after; 'stall', there is no answer for as long as the hub is open.
            times: How many.
        """
        self.failures += [(method, path_regex, how)] * times

    def page(self, kind: str, repo_id: str) -> str:
        return f"{self.url}/{repo_id}" if kind == "models" else f"{self.url}/{kind}/{repo_id}"


def _goes_to_lfs(path: str, size: int) -> bool:
    return size > 0 and (size > 10_000_000 or LFS_PATH.fullmatch(path) is not None)


class _Handler(LoopbackHandler):
    """Reads a request, answers it, and closes the connection, so that a closed hub is really gone."""

    owner: HubServer

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        how = self._failure()
        if how == "stall":
            self.owner.closing.wait()
        if how in ("cut", "stall"):
            self.close_connection = True
            return
        with self.owner.lock:
            try:
                if isinstance(how, int):
                    raise Refusal(how, "Injected failure")
                status, content, headers = self._answer(urlsplit(self.path).path)
            except Refusal as refusal:
                status, content, headers = refusal.reply
        if how == "answer lost":
            self.close_connection = True
            return
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(payload)), "Connection": "close"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _failure(self) -> int | str | None:
        """How this request is to fail, if it is."""
        path = unquote(urlsplit(self.path).path)
        with self.owner.lock:
            self.owner.requests.append((self.command, path))
            for failure in self.owner.failures:
                if failure[0] == self.command and re.search(failure[1], path):
                    self.owner.failures.remove(failure)
                    return failure[2]
        return None

    def _answer(self, path: str) -> Reply:
        self.has_token = self.headers.get("Authorization") == f"Bearer {self.owner.token}"
        if "Authorization" in self.headers and not self.has_token:
            raise Refusal(401, "Invalid credentials in Authorization header")
        for method, pattern, route in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command.replace("HEAD", "GET"):
                return route(self, *[unquote(value or "") for value in match.groups()])
        raise Refusal(404, "Not found")

    def _need_token(self) -> None:
        if not self.has_token:
            raise Refusal(401, "Invalid username or password.")

    def _repository(self, kind: str, repo_id: str, *, to_write: bool = False) -> Repository:
        repository = self.owner.repositories.get((kind or "models", repo_id))
        if repository is None or (repository.private and not self.has_token):
            raise Refusal(404 if self.has_token else 401, "Repository not found", "RepoNotFound")
        if to_write:
            self._need_token()
        return repository

    def whoami(self) -> Reply:
        self._need_token()
        return 200, {"type": "user", "name": self.owner.user, "orgs": self.owner.orgs, "auth": self.owner.auth}, {}

    def create_repo(self) -> Reply:
        self._need_token()
        wanted = json.loads(self.body)
        kind = f"{wanted.get('type', 'model')}s"
        repo_id = f"{wanted['organization'] or self.owner.user}/{wanted['name']}"
        answer = {"url": self.owner.page(kind, repo_id), "name": repo_id}
        if (kind, repo_id) in self.owner.repositories:
            return 409, answer | {"error": "You already created this repo"}, {}
        self.owner.add_repo(kind, repo_id, {}, private=wanted.get("visibility") == "private")
        return 200, answer, {}

    def create_branch(self, kind: str, repo_id: str, branch: str) -> Reply:
        repository = self._repository(kind, repo_id, to_write=True)
        if branch in repository.branches:
            raise Refusal(409, "Reference already exists")
        start = json.loads(self.body).get("startingPoint") or "main"
        repository.branches[branch] = list(repository.branches.get(start, [repository.at(start)[0]]))
        return 200, {}, {}

    def refs(self, kind: str, repo_id: str) -> Reply:
        repository = self._repository(kind, repo_id)
        branches = repository.branches.items()
        described = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": oids[-1]} for name, oids in branches]
        tags = [
            {"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid} for name, oid in repository.tags.items()
        ]
        return 200, {"branches": described, "tags": tags, "converts": []}, {}

    def create_tag(self, kind: str, repo_id: str, revision: str) -> Reply:
        repository, wanted = self._repository(kind, repo_id, to_write=True), json.loads(self.body)
        if wanted["tag"] in repository.tags:
            raise Refusal(409, "Tag reference exists already")
        repository.tags[wanted["tag"]] = repository.at(revision)[0]
        return 200, {}, {}

    def repo_info(self, kind: str, repo_id: str, revision: str) -> Reply:
        repository = self._repository(kind, repo_id)
        oid, files = repository.at(revision or "main")
        keys = ("blobId", "sha256") if "blobs" in parse_qs(urlsplit(self.path).query) else None
        siblings = [{"rfilename": path} | (files[path].describe(*keys) if keys else {}) for path in sorted(files)]
        info = {"id": repo_id, "sha": oid, "private": repository.private, "siblings": siblings}
        if "README.md" in files:
            _, metadata, *_ = f"{files['README.md'].data.decode()}---\n---\n".split("---\n", 2)
            info["cardData"] = yaml.safe_load(metadata) or {}
        return 200, info, {}

    def tree(self, kind: str, repo_id: str, revision: str, folder: str) -> Reply:
        _, files = self._repository(kind, repo_id).at(revision)
        below = [path for path in sorted(files) if not folder or path.startswith(f"{folder}/")]
        return 200, [{"type": "file", "path": path} | files[path].describe("oid", "oid") for path in below], {}

    def resolve(self, kind: str, repo_id: str, revision: str, path: str) -> Reply:
        oid, files = self._repository(kind, repo_id).at(revision)
        if path not in files:
            raise Refusal(404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": oid})
        data, etag = files[path].data, files[path].sha256 or files[path].blob_id
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": oid, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not wanted or self.command == "HEAD":
            return 200, data, headers
        first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        if first > last:
            raise Refusal(416, "Range not satisfiable", **{"Content-Range": f"bytes */{len(data)}"})
        return 206, data[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{len(data)}"}

    def preupload(self, kind: str, repo_id: str, revision: str) -> Reply:
        """Say how to send each file, and the id by which the client sees that it is there already."""
        _, held = self._repository(kind, repo_id, to_write=True).at(revision)
        answers = []
        for file in json.loads(self.body)["files"]:
            mode = "lfs" if _goes_to_lfs(file["path"], file["size"]) else "regular"
            stored = held.get(file["path"])
            oid = stored and (stored.sha256 or stored.blob_id)
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return 200, {"files": answers}, {}

    def lfs_batch(self, kind: str, repo_id: str) -> Reply:
        self._repository(kind, repo_id, to_write=True)
        objects = [{"oid": file["oid"], "size": file["size"]} for file in json.loads(self.body)["objects"]]
        for file in objects:
            if file["oid"] not in self.owner.lfs_objects:
                file["actions"] = {"upload": {"href": f"{self.owner.url}/lfs/{file['oid']}"}}
        return 200, {"transfer": "basic", "objects": objects}, {}

    def lfs_upload(self, oid: str) -> Reply:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, "The content has another sha256")
        self.owner.lfs_objects[oid] = self.body
        return 200, b"", {}

    def commit(self, kind: str, repo_id: str, branch: str) -> Reply:
        repository = self._repository(kind, repo_id, to_write=True)
        parent, files = repository.at(branch)
        header, *operations = [json.loads(line) for line in self.body.splitlines()]
        if branch not in repository.branches or header["value"].get("parentCommit", parent) != parent:
            raise Refusal(412, "Not a branch, or a commit has happened since")
        gone = {step["value"]["path"] for step in operations if step["key"] == "deletedFile"}
        added = dict(self._added(**step) for step in operations if step["key"] != "deletedFile")
        oid = repository.commit(branch, {p: f for p, f in files.items() if p not in gone} | added)
        return 200, {"commitOid": oid, "commitUrl": f"{self.owner.page(kind, repo_id)}/commit/{oid}"}, {}

    def _added(self, key: str, value: dict[str, Any]) -> tuple[str, StoredFile]:
        if key == "file":
            return value["path"], StoredFile(base64.b64decode(value["content"]))
        if key == "lfsFile" and value["oid"] in self.owner.lfs_objects:
            return value["path"], StoredFile(self.owner.lfs_objects[value["oid"]], value["oid"])
        raise Refusal(400, f"Not in LFS yet, or not an operation of this hub: {key}")


_API = r"/api/(models|datasets)/([^/]+/[^/]+)"
_PAGE = r"/(?:(datasets)/)?([^/]+/[^/]+)"
_ROUTES: list[tuple[str, str, Callable[..., Reply]]] = [
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/repos/create", _Handler.create_repo),
    ("POST", "/api/validate-yaml", lambda handler: (200, {"errors": [], "warnings": []}, {})),
    ("GET", _API + "(?:/revision/([^/]+))?", _Handler.repo_info),
    ("GET", _API + "/refs", _Handler.refs),
    ("GET", _API + "/tree/([^/]+)(?:/(.+))?", _Handler.tree),
    ("POST", _API + "/branch/([^/]+)", _Handler.create_branch),
    ("POST", _API + "/tag/([^/]+)", _Handler.create_tag),
    ("POST", _API + "/preupload/([^/]+)", _Handler.preupload),
    ("POST", _API + "/commit/([^/]+)", _Handler.commit),
    ("GET", _PAGE + "/resolve/([^/]+)/(.+)", _Handler.resolve),
    ("POST", _PAGE + r"\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", "/lfs/([0-9a-f]{64})", _Handler.lfs_upload),
]
