"""What is drawn to be scored: prompts by group."""

from collections.abc import Sequence

from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import EvaluationSettings, ValidationSettings
from sanaflow.errors import InputError


def evaluation_prompts(
    latents: LatentCache, captions: CaptionCache, settings: EvaluationSettings, validation: ValidationSettings
) -> list[tuple[str, str]]:
    """(group, prompt)s: those of the settings, the validation prompts, or captions; none twice in a group, none blank.

    Raises:
        InputError: There are none.
    """
    if isinstance(settings.evaluation_prompts, dict):
        groups = settings.evaluation_prompts
        return [(name, prompt) for name, prompts in groups.items() for prompt in dict.fromkeys(prompts)]
    if settings.evaluation_prompts == "validation":
        prompts = dict.fromkeys(validation.prompts().values())
        if not prompts:
            raise InputError(
                "evaluation.evaluation_prompts is 'validation', but 'validation' has no prompts: set "
                "validation.user_prompt_library, or evaluation_prompts"
            )
        return [("validation", prompt) for prompt in prompts]
    held_out = set(latents.entries.loc[latents.entries["role"] == "eval", "dataset"])
    rows = captions.captions
    for group, among in (("held-out captions", rows["dataset"].isin(held_out)), ("captions", rows["caption"].notna())):
        distinct = sorted({caption for caption in rows.loc[among, "caption"] if caption.strip()})
        if distinct:
            return [(group, caption) for caption in evenly(distinct, settings.evaluation_prompts_limit)]
    raise InputError("there is no caption to score with: set evaluation.evaluation_prompts")


def evenly(items: Sequence[str], limit: int) -> list[str]:
    """At most `limit` of them, evenly picked."""
    count = min(len(items), limit)
    return [items[i * len(items) // count] for i in range(count)]
