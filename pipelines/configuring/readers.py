"""From an answer's text to its value, or one line on what is wrong with it."""

import math
import re
from collections.abc import Iterable

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from pipelines.configuring.captions import Captions
from pipelines.scheduling.cron import cron_trigger
from sanaflow.errors import InputError, nearest

NONE = ("", "none", "no", "null", "-")
MOST_STEPS = 1_000_000


def read_choice(answer: str, choices: Iterable[str]) -> str:
    """One of several words."""
    choices = list(choices)
    if answer.lower() not in choices:
        raise InputError(f"'{answer}' is none of {', '.join(choices)}: {nearest(answer.lower(), choices)}")
    return answer.lower()


def read_captions(answer: str, ways: list[Captions]) -> Captions:
    """One of the ways that the pictures allow."""
    strategy = read_choice(answer, [way.strategy for way in ways])
    return next(way for way in ways if way.strategy == strategy)


def read_words(answer: str) -> str:
    """Something to say."""
    if not answer or answer.lower() in NONE:
        raise InputError("some words are needed, such as: a photo of ohwx dog")
    return answer


def read_memory(answer: str) -> float:
    """GiB of a card: '24', '24 GB'."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:gi?b?)?", answer, re.I)
    if not found or not 1 <= float(found[1]) <= 1000:
        raise InputError(f"'{answer}' is no card's memory in GiB, such as 24")
    return float(found[1])


def read_steps(answer: str) -> int:
    """Optimizer steps."""
    if not answer.isdecimal() or not 1 <= int(answer) <= MOST_STEPS:
        raise InputError(f"'{answer}' is no number of steps from 1 to {MOST_STEPS:,}")
    return int(answer)


def read_prompts(answer: str) -> list[str]:
    """Prompts, apart by '|'."""
    prompts = [part.strip() for part in answer.split("|") if part.strip()]
    if not prompts:
        raise InputError("at least one prompt is needed, to see what the model learns")
    return list(dict.fromkeys(prompts))


def read_hub_id(answer: str) -> str | None:
    """`owner/name`, or none."""
    if answer.lower() in NONE:
        return None
    try:
        validate_repo_id(answer)
    except HFValidationError:
        raise InputError(f"'{answer}' is no hub id: letters, digits, '-', '_' and '.', as in me/my-sana") from None
    if answer.count("/") != 1:
        raise InputError(f"'{answer}' has no owner: write it as me/{answer}")
    return answer


def read_cron(answer: str) -> str | None:
    """A cron expression, or none."""
    if answer.lower() in NONE:
        return None
    try:
        cron_trigger(answer, "UTC")
    except InputError as error:
        raise InputError(error.message.removeprefix("--cron ")) from None
    return " ".join(answer.split())


def suggested_steps(pictures: int | None, batch: int) -> int:
    """Each picture about a hundred times, from 500 to 5,000 steps in whole fifties."""
    return 2000 if pictures is None else min(5000, max(500, math.ceil(100 * pictures / batch / 50) * 50))
