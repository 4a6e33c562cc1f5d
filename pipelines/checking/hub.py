"""The hub: does it answer, is the token good, may it write where the run pushes to."""

import os

from huggingface_hub import HfApi, constants, get_token, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session

from pipelines.checking.finding import Finding, Look, refused
from pipelines.checking.redaction import host_of
from pipelines.checking.whereabouts import Whereabouts
from sanaflow.config import EvaluationSettings, PublishingSettings, RunSettings
from sanaflow.errors import InputError
from sanaflow.paths import expanded
from sanaflow.publishing.hub import check_write_access

TIMEOUT_SECONDS = 5.0
CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip looks for in a repository."""


def pushes_to(publishing: PublishingSettings) -> str | None:
    """The repository that a run writes to, be it at its end or on the way."""
    return publishing.hub_model_id if publishing.push_checkpoints_to_hub else publishing.pushed_to()


def wants_of_the_hub(run: RunSettings) -> list[str]:
    """The keys that a run can't do without the hub for."""
    name, repo = run.model.pretrained_model_name_or_path, pushes_to(run.publishing)
    wants = [] if expanded(name).is_dir() else ["model.pretrained_model_name_or_path"]
    wants += [f"datasets.{d.id}" for d in run.datasets if d.type == "huggingface" and not d.disabled]
    wants += ["evaluation.evaluation_model"] if clip_is_missing(run.evaluation) else []
    return wants + (["publishing.hub_model_id"] if repo else [])


def clip_is_missing(evaluation: EvaluationSettings) -> bool:
    """Whether the judge's weights have to be downloaded from the hub."""
    if evaluation.evaluation_model == "packaged":
        return False
    from open_clip.pretrained import get_pretrained_cfg

    told = get_pretrained_cfg(evaluation.evaluation_model, evaluation.evaluation_pretrained) or {}
    repo, file = os.path.split(told.get("hf_hub") or "")
    files = [file] if file else CLIP_FILES
    return bool(repo) and not any(isinstance(try_to_load_from_cache(repo, name), str) for name in files)


def no_answer(seconds: float = TIMEOUT_SECONDS) -> str | None:
    """Why the hub doesn't answer; None if it does."""
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set: unset it"
    try:
        get_session().head(constants.ENDPOINT, timeout=seconds)
    except (HTTPError, OSError, ValueError) as error:
        return f"no answer from {hub_host()} ({type(error).__name__}): see to the network, a proxy or HF_ENDPOINT"
    return None


def hub_host() -> str:
    """The hub's address."""
    return host_of(constants.ENDPOINT)


def account() -> str | None:
    """Whose the token is; None if there is none.

    Raises:
        InputError: It is expired or wrong, or the hub can't say.
    """
    if not get_token():
        return None
    try:
        return str(HfApi().whoami()["name"])
    except (HTTPError, OfflineModeIsEnabled, KeyError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403):
            raise InputError(
                f"the hub refuses the token ({error.response.status_code}): it is expired or wrong; make a new one and "
                "set HF_TOKEN or run `hf auth login`, or unset it where all is public"
            ) from None
        raise InputError(f"the hub can't say whose the token is ({type(error).__name__}): try again") from None


def look_at_hub(run: RunSettings, place: Whereabouts) -> Look[bool]:
    """The network, the token, and its rights; whether the hub can be asked for more."""
    wants = wants_of_the_hub(run)
    if not wants:
        return False
    if problem := no_answer():
        yield Finding("error", "hub", f"{problem}; it is needed for {', '.join(wants)}")
        return False
    try:
        who = account()
    except InputError as error:
        yield from refused("hub", error)
        return False
    yield Finding("ok", "hub", f"answers, and the token is of '{who}'" if who else "answers; there is no token")
    if repo := pushes_to(run.publishing):
        try:
            check_write_access(repo)
            yield Finding("ok", "publishing.hub_model_id", f"'{who}' may write to '{repo}'")
        except InputError as error:
            elsewhere = place.brings_secrets or not place.is_here("check_hub_access", "push_to_hub")
            yield from refused("publishing.hub_model_id", error, "warning" if elsewhere else "error")
    return True
