"""Push a release folder to the Hugging Face hub."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled

from sanaflow.errors import InputError


def push(folder: Path, paths: Sequence[str], *, repo: str, private: bool) -> tuple[str, str]:
    """Make the repository if need be and bring it to hold these files, in one commit; none if it holds them already.

    Args:
        folder: The release.
        paths: Its files, relative to `folder`.
        repo: `owner/name`.
        private: For a new repository.

    Returns:
        The commit and its address.

    Raises:
        InputError: No token, a token that is expired or may not write, or the hub can't be reached.
    """
    if not get_token():
        raise InputError(
            f"publishing.hub_model_id is '{repo}', but there is no hub token: set HF_TOKEN or run `hf auth login`, "
            "or leave hub_model_id out to make a release folder only"
        )
    api = HfApi()
    operations: list[CommitOperationAdd | CommitOperationDelete]
    operations = [CommitOperationAdd(path, folder / path) for path in paths]
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        parts = {path.split("/")[0] for path in paths if "/" in path}  # transformer, vae, ...: ours alone, as a whole
        left = [p for p in api.list_repo_files(repo) if p.split("/")[0] in parts and "/" in p and p not in paths]
        operations += [CommitOperationDelete(path) for path in left]
        done = api.create_commit(repo, operations, commit_message="Release by Sanaflow")
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
