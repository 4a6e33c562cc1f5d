"""Push a release folder to the Hugging Face hub."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled

from sanaflow.digests import file_digest
from sanaflow.errors import InputError
from sanaflow.progress import progress_bar


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
    _need_token(repo)
    api = HfApi()
    operations: list[CommitOperationAdd | CommitOperationDelete]
    operations = [CommitOperationAdd(path, folder / path) for path in files]
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        parts = {path.split("/")[0] for path in files if "/" in path}  # transformer, vae, ...: ours alone, as a whole
        left = [p for p in api.list_repo_files(repo) if p.split("/")[0] in parts and "/" in p and p not in files]
        operations += [CommitOperationDelete(path) for path in left]
        before = api.model_info(repo).sha
        done = api.create_commit(repo, operations, commit_message="Release by Sanaflow")
        if done.oid != before:
            _verify(files, repo, done.oid)
            if tag:
                _tag(api, repo, tag, done.oid)
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
    return done.oid, done.commit_url


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
