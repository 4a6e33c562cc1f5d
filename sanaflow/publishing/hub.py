"""Push a release folder to the Hugging Face hub."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, get_token, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from sanaflow.digests import file_digest
from sanaflow.errors import InputError
from sanaflow.progress import progress_bar

T = TypeVar("T")
TIMEOUT_SECONDS = 300
"""For each part of an answer."""
TRIES, WAIT = stop_after_attempt(6), wait_exponential_jitter(initial=1, max=60)
CHECKPOINTS = "checkpoints"
"""The branch that weights go to while they are trained."""


def check_write_access(repo: str) -> None:
    """See that the token may write there, before hours are spent; changes nothing on the hub.

    Raises:
        InputError: No token, or one that is expired, reads only, or is of somebody else; the hub can't be reached.
    """
    _need_token(repo)
    try:
        who = HfApi().whoami()
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise _explained(error, repo) from None
    owner = repo.split("/")[0]
    member = {who["name"]: "write"} | {org["name"]: org.get("roleInOrg", "write") for org in who.get("orgs", [])}
    if member.get(owner, "read") == "read":
        raise InputError(
            f"publishing.hub_model_id '{repo}': the token is of '{who['name']}', which may not write to '{owner}': "
            f"use another token, or name '{who['name']}/{repo.split('/')[-1]}'"
        )
    token = who.get("auth", {}).get("accessToken", {})
    scopes = token.get("fineGrained", {}).get("scoped", [])
    finely = token.get("role") == "fineGrained" and not any(
        scope.get("entity", {}).get("name") in (owner, repo) and "repo.write" in scope.get("permissions", [])
        for scope in scopes
    )
    if token.get("role") == "read" or finely:
        raise InputError(
            f"publishing.hub_model_id '{repo}': the token may only read there: make one with write access, set HF_TOKEN"
        )


def push(
    folder: Path, files: Mapping[str, str], *, repo: str, private: bool, tag: str | None = None
) -> tuple[str, str]:
    """Make the repository if need be and bring it to hold these files, in one commit; none if it holds them already.

    Args:
        folder: The release.
        files: sha256 of its files, by their path relative to `folder`. What was pushed is fetched again and compared.
        repo: `owner/name`.
        private: For a new repository.
        tag: For the commit, if one is made.

    Returns:
        The commit and its address.

    Raises:
        InputError: No token, a token that is expired or may not write, the hub can't be reached, or it holds something
            else than was pushed.
    """
    parts = {path.split("/")[0] for path in files if "/" in path}  # transformer, vae, ...: ours alone, as a whole

    def begin(api: HfApi) -> tuple[str, set[str]]:
        api.create_repo(repo, private=private, exist_ok=True)
        refs = api.list_repo_refs(repo)
        [head] = [ref.target_commit for ref in refs.branches if ref.name == "main"]
        return head, {ref.target_commit for ref in refs.tags}

    def commit(api: HfApi) -> CommitInfo:
        left = [p for p in api.list_repo_files(repo) if p.split("/")[0] in parts and "/" in p and p not in files]
        operations: list[CommitOperationAdd | CommitOperationDelete]
        operations = [CommitOperationAdd(path, folder / path) for path in files]
        operations += [CommitOperationDelete(path) for path in left]
        return api.create_commit(repo, operations, commit_message="Release by Sanaflow")

    before, tagged = _write(repo, begin)
    size = sum((folder / path).stat().st_size for path in files)
    print(f"pushing {len(files):,} files, {size / 2**30:.2f} GiB, to {repo}; what it holds already is not sent again")
    done = _write(repo, commit)
    if done.oid != before or (tag and done.oid not in tagged):  # or else it was looked at when it was made
        _write(repo, lambda _: _verify(files, repo, done.oid))
        if tag:
            _write(repo, lambda api: _tag(api, repo, tag, done.oid))
    return done.oid, done.commit_url


def push_checkpoint(folder: Path, *, repo: str, private: bool, step: int) -> str:
    """Bring the branch `CHECKPOINTS` to hold the weights in `folder` and nothing else, in a commit of that step.

    Returns:
        The commit.

    Raises:
        InputError: See `push`.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}

    def commit(api: HfApi) -> CommitInfo:
        api.create_repo(repo, private=private, exist_ok=True)
        api.create_branch(repo, branch=CHECKPOINTS, exist_ok=True)
        gone = [path for path in api.list_repo_files(repo, revision=CHECKPOINTS) if path not in paths]
        operations: list[CommitOperationAdd | CommitOperationDelete]
        operations = [CommitOperationAdd(path, source) for path, source in paths.items()]
        operations += [CommitOperationDelete(path) for path in gone if path != ".gitattributes"]
        return api.create_commit(repo, operations, commit_message=f"Step {step}", revision=CHECKPOINTS)

    return _write(repo, commit).oid


def _write(repo: str, write: Callable[[HfApi], T]) -> T:
    """What `write` gives, tried again where the hub is busy or can't be reached for a while.

    It has to give the same when it is called again after it was carried out, but its answer lost.

    Raises:
        InputError: The hub doesn't take it, or not in time.
    """
    _need_token(repo)
    try:
        for attempt in Retrying(retry=retry_if_exception(_may_pass), stop=TRIES, wait=WAIT, reraise=True):
            with attempt:
                hooks = get_session().event_hooks["request"]
                if _wait_so_long not in hooks:
                    hooks.append(_wait_so_long)
                return write(HfApi())
    except HFValidationError as error:
        raise InputError(f"publishing.hub_model_id '{repo}' is not a valid hub id: {error}") from None
    except ValueError as error:  # the hub reads the model card's metadata and says what is wrong with it
        reason = " ".join(str(error).split())
        raise InputError(f"the hub refuses the model card of '{repo}', see publishing.license: {reason}") from None
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise _explained(error, repo) from None
    except RuntimeError as error:  # what the client makes of an upload that failed after all retries
        if isinstance(error.__cause__, HTTPError):
            raise _explained(error.__cause__, repo) from None
        raise
    raise AssertionError("a last attempt that fails raises")


def _wait_so_long(request: Any) -> None:
    """Give a request of the hub's client, which says itself that it waits for ever, an end."""
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_SECONDS)


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may be taken a little later."""
    error = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
    if isinstance(error, OfflineModeIsEnabled) or not isinstance(error, HTTPError):
        return False
    return not isinstance(error, HfHubHTTPError) or error.response.status_code in (408, 429, 500, 502, 503, 504)


def _need_token(repo: str) -> None:
    if not get_token():
        raise InputError(
            f"publishing.hub_model_id is '{repo}', but there is no hub token: set HF_TOKEN or run `hf auth login`, "
            "or leave hub_model_id out to make a release folder only"
        )


def _verify(files: Mapping[str, str], repo: str, commit: str) -> None:
    """Fetch every file again, one at a time, and compare."""
    for path, digest in progress_bar(list(files.items()), desc=f"verifying {repo}", unit="file"):
        with tempfile.TemporaryDirectory() as scratch:
            if file_digest(Path(hf_hub_download(repo, path, revision=commit, local_dir=scratch))) != digest:
                raise InputError(
                    f"the hub holds another '{path}' in '{repo}' than was pushed: run again, and don't use {commit}"
                )


def _tag(api: HfApi, repo: str, tag: str, commit: str) -> None:
    """Name the commit. A tag that is there is somebody's, and stays where it is."""
    there = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo).tags}
    if there.get(tag, commit) != commit:
        print(f"'{repo}' has a tag '{tag}' already, of another commit: it was left there")
    else:
        api.create_tag(repo, tag=tag, revision=commit, exist_ok=True)


def _explained(error: Exception, repo: str) -> InputError:
    """Why the hub didn't take it, without the token that was sent."""
    if not isinstance(error, HfHubHTTPError):
        return InputError(f"the hub can't be reached to push '{repo}' ({type(error).__name__}): try again later")
    status = error.response.status_code
    if status in (401, 403):
        return InputError(
            f"the hub refuses to write '{repo}' ({status}): the token is expired or may not write there; "
            "make a new one with write access and set HF_TOKEN"
        )
    return InputError(f"the hub answers {status} to the push of '{repo}': try again later")
