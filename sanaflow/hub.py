"""Ask the Hugging Face hub, and say in one line why there was no answer."""

from collections.abc import Callable
from typing import TypeVar

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sanaflow.errors import InputError

T = TypeVar("T")
HUB_ERRORS = (HfHubHTTPError, HTTPError, OfflineModeIsEnabled, OSError)
"""What an answer that doesn't come may raise; OSError is a full disk, too."""


def ask_hub(
    question: Callable[[], T],
    *,
    subject: str,
    key: str,
    revision_key: str,
    missing: str = "is no repository that the hub shows you",
) -> T:
    """The answer to a question.

    Args:
        question: Calls the hub.
        subject: What is asked for, as the error's beginning: "model 'owner/name'".
        key: The configuration's key that names it.
        revision_key: That which names its revision.
        missing: What is said of it if there is no such repository.

    Raises:
        InputError: There is no such repository or revision, it is gated, or the hub can't be asked.
    """
    try:
        return question()
    except GatedRepoError:
        raise InputError(f"{subject} is gated: accept its terms on the hub and set HF_TOKEN") from None
    except RevisionNotFoundError:
        raise InputError(f"{subject} has no such revision: correct or remove {revision_key}") from None
    except RepositoryNotFoundError:
        raise InputError(f"{subject} {missing}: correct {key}, or set HF_TOKEN if it is private") from None
    except HFValidationError as error:
        raise InputError(f"{subject} is not a valid hub id: {error}") from None
    except HUB_ERRORS as error:
        raise InputError(f"{subject}: the hub can't be asked ({type(error).__name__}); try again") from None
