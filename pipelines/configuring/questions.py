"""The few questions that matter, in their order, each with what is suggested."""

import os
from dataclasses import dataclass
from functools import partial

from huggingface_hub import get_token

from pipelines.configuring import readers
from pipelines.configuring.asking import Asker
from pipelines.configuring.base import Base, listed_models, read_model, suggested_model
from pipelines.configuring.captions import Captions
from pipelines.configuring.fitting import ABOUT, BATCH, KINDS, Card, Fit, memory_here
from pipelines.configuring.pictures import Found, look_at_pictures
from sanaflow.errors import InputError

QUESTIONS = (
    *("pictures", "endpoint", "captions", "instance_prompt", "memory", "model", "resolution", "train", "steps"),
    *("prompts", "hub_model_id", "schedule"),
)
"""Their names in a file of answers; `endpoint` is asked for S3 only, `instance_prompt` where it is the caption."""
COMMON_CARD_GIB = 24
PROMPT = "a lighthouse on a cliff at dusk"


@dataclass(frozen=True)
class Choices:
    """What was answered, and what it led to."""

    found: Found
    captions: Captions
    instance_prompt: str | None
    memory_gib: float
    base: Base
    resolution: int
    kind: str
    fit: Fit
    steps: int
    prompts: list[str]
    hub_model_id: str | None
    cron: str | None


def ask_everything(asker: Asker) -> Choices:
    """Ask, and look at the pictures, the card and the model meanwhile."""
    ask = asker.ask
    hint = "A folder, s3://bucket/prefix, owner/name of a dataset on the hub, or a .csv of urls."
    found = ask("pictures", "Where are your pictures?", hint=hint, default=None, read=partial(_look, asker))
    asker.say(found.told())
    ways = found.captions
    hint = "\n".join(["Where their words come from:", *(f"  {way.strategy:<14} {way.why}" for way in ways)])
    read_captions = partial(readers.read_captions, ways=ways)
    captions = ask("captions", "Captions", hint=hint, default=ways[0].strategy, read=read_captions)
    instance_prompt = None
    if captions.strategy == "instanceprompt":
        hint = "The caption of every picture; a rare word in it becomes the name of what is new."
        instance_prompt = ask("instance_prompt", "Words", hint=hint, default=None, read=readers.read_words)

    here = memory_here()
    hint = f"GiB of the card that will train; {'that of the one here' if here else 'there is no GPU here'}."
    memory = ask("memory", "Memory", hint=hint, default=f"{here or COMMON_CARD_GIB:.4g}", read=readers.read_memory)
    hint = f"The model to start from; or a folder or hub id of your own.\n{listed_models()}"
    base = ask("model", "Model", hint=hint, default=suggested_model(found.edge), read=read_model)
    hint = f"Edge in pixels of a square of the area to train at; the model was made for {base.edge}."
    resolution = ask("resolution", "Resolution", hint=hint, default=str(base.edge), read=base.read_resolution)
    if found.edge and found.edge < 0.8 * resolution:
        asker.say(f"most pictures are smaller ({found.edge} px) and will be enlarged, which blurs: consider less")

    tokens = resolution // base.pixels_per_token
    card = Card(base.config, (tokens, tokens), memory)
    asker.say("working out what fits the card ...")
    hint = "\n".join(["What is trained:", *(f"  {kind:<5} {about}" for kind, about in ABOUT.items())])
    kind, fit = ask("train", "Train", hint=hint, default=card.suggested(), read=partial(_read_kind, card=card))
    asker.say(f"a step takes {fit.gib:.1f} of {memory:g} GiB")

    suggested = readers.suggested_steps(found.pictures, BATCH)
    hint = f"Optimizer steps of {BATCH} pictures each; suggested: each picture about a hundred times, from 500 to 5000."
    steps = ask("steps", "Steps", hint=hint, default=str(suggested), read=readers.read_steps)
    examples = found.examples if captions == ways[0] else []
    shown = " | ".join(examples or [instance_prompt or PROMPT])
    hint = "What is drawn while training, to look at; several with '|' between them."
    prompts = ask("prompts", "Prompts", hint=hint, default=shown, read=readers.read_prompts)
    token = "a token is there" if get_token() else "there is no token yet: set HF_TOKEN or run `hf auth login`"
    hint = f"Where on the hub the model is pushed to, privately; none: only a folder is written ({token})."
    hub_id = ask("hub_model_id", "owner/name", hint=hint, default="none", read=readers.read_hub_id)
    hint = "Train again when pictures have changed? A cron expression, such as 0 3 * * * for three at night; or none."
    cron = ask("schedule", "Schedule", hint=hint, default="none", read=readers.read_cron)
    return Choices(found, captions, instance_prompt, memory, base, resolution, kind, fit, steps, prompts, hub_id, cron)


def _look(asker: Asker, answer: str) -> Found:
    endpoint = None
    if answer.startswith("s3://"):
        hint = "Address of a store other than AWS; keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        default = os.environ.get("AWS_ENDPOINT_URL", "none")
        given = asker.ask("endpoint", "Endpoint", hint=hint, default=default, read=str)
        endpoint = None if given.lower() in readers.NONE else given
    return look_at_pictures(answer, endpoint)


def _read_kind(answer: str, card: Card) -> tuple[str, Fit]:
    kind = readers.read_choice(answer, KINDS)
    fit, fits = card.fit(kind)
    if not fits:
        smaller = "train less, at a smaller resolution, or on a larger card"
        raise InputError(f"'{kind}' takes at least {fit.gib:.1f} of {card.memory_gib:g} GiB, too close: {smaller}")
    return kind, fit
