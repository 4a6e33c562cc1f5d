"""How values of SimpleTuner's options become ours, where they aren't the same."""

import json
import re
from collections.abc import Callable
from typing import Any

from sanaflow.errors import nearest
from sanaflow.simpletuner.optimizers import is_lora
from sanaflow.simpletuner.option import Becomes, Given, LeftOut, number, truth

HUB_IDS = {
    "sana1.5-4.8b-1024": "Efficient-Large-Model/SANA1.5_4.8B_1024px_diffusers",
    "sana1.5-1.6b-1024": "Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers",
    "sana1.0-1.6b-2048": "Efficient-Large-Model/Sana_1600M_2Kpx_BF16_diffusers",
    "sana1.0-1.6b-1024": "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers",
    "sana1.0-600m-1024": "Efficient-Large-Model/Sana_600M_1024px_diffusers",
    "sana1.0-600m-512": "Efficient-Large-Model/Sana_600M_512px_diffusers",
}
"""By SimpleTuner's flavours."""
CLIP_MODELS = {
    "openai/clip-vit-large-patch14-336": ("ViT-L-14-336", "openai"),
    "openai/clip-vit-large-patch14": ("ViT-L-14", "openai"),
    "openai/clip-vit-base-patch32": ("ViT-B-32", "openai"),
    "openai/clip-vit-base-patch16": ("ViT-B-16", "openai"),
    "laion/clip-vit-b-32-laion2b-s34b-b79k": ("ViT-B-32", "laion2b_s34b_b79k"),
    "laion/clip-vit-l-14-laion2b-s32b-b82k": ("ViT-L-14", "laion2b_s32b_b82k"),
    "laion/clip-vit-h-14-laion2b-s32b-b79k": ("ViT-H-14", "laion2b_s32b_b79k"),
}
"""open_clip's model and pretrained tag, by hub id."""
EDGE = 32
UNCLIPPED = 1.0e9
Convert = Callable[[Any, Given], Any]


def flavour(value: Any, given: Given) -> str | LeftOut:
    """A flavour's hub id."""
    if "pretrained_model_name_or_path" in given:
        return LeftOut("no effect", "'pretrained_model_name_or_path' wins")
    if str(value) not in HUB_IDS:
        raise ValueError(f"'{value}' is no flavour of Sana: {nearest(str(value), HUB_IDS)}")
    return HUB_IDS[str(value)]


def steps(value: Any, given: Given) -> Any:
    """`max_train_steps`, where 0 leaves it to the epochs."""
    count = number(value)
    if count > 0:
        return count
    if "num_train_epochs" in given and given.amount("num_train_epochs") <= 0:
        raise ValueError("is 0, and so is 'num_train_epochs': say how long to train in one of them")
    return LeftOut("not needed", "0 leaves it to 'num_train_epochs'")


def epochs(value: Any, given: Given) -> Any:
    """`num_train_epochs`, where 0 leaves it to the steps."""
    counted = given.amount("max_train_steps") > 0
    if number(value) > 0 and counted and "num_train_epochs" in given:
        raise ValueError("and 'max_train_steps' are both more than 0: set one of them to 0, as SimpleTuner asks, too")
    if number(value) > 0:
        return number(value)
    if "max_train_steps" not in given:
        raise ValueError("is 0, and there is no 'max_train_steps': say how long to train in one of them")
    return LeftOut("not needed", "0 leaves it to 'max_train_steps'")


def renamed(**names: str) -> Convert:
    """Some values by other names; any other stays."""

    def convert(value: Any, _: Given) -> Any:
        text = str(value).lower()
        return Becomes(names[text], f"there is no '{text}' here") if text in names else value

    return convert


def flag(value: Any, _: Given) -> bool:
    """A flag, also as text."""
    return truth(value)


def positive(otherwise: str) -> Convert:
    """A number above 0; else it is left out, with what happens instead."""

    def convert(value: Any, _: Given) -> Any:
        return value if number(value) > 0 else LeftOut("not needed", f"0 is no number for it here: {otherwise}")

    return convert


def of_scheduler(*schedulers: str) -> Convert:
    """For these schedulers only."""

    def convert(value: Any, given: Given) -> Any:
        if given.text("lr_scheduler") in schedulers:
            return value
        return LeftOut("not needed", f"of lr_scheduler {' and '.join(schedulers)} here")

    return convert


def of_lora(kind: str, then: Convert = lambda value, given: value) -> Convert:
    """For model_type 'lora' and this lora_type only."""

    def convert(value: Any, given: Given) -> Any:
        if is_lora(given) and given.text("lora_type", "standard") == kind:
            return then(value, given)
        return LeftOut("not needed", f"of model_type 'lora' and lora_type '{kind}'")

    return convert


def lora_alpha(value: Any, _: Given) -> Any:
    """A whole number of 1 or more."""
    alpha = number(value)
    whole = max(1, round(alpha))
    return Becomes(whole, "" if whole == alpha else f"{alpha} isn't a whole number above 0")


def target_modules(value: Any, given: Given) -> Any:
    """Names of layers: a list, a JSON list, one in a file, or separated by commas."""
    if isinstance(value, str) and value.strip().startswith("["):
        value = json.loads(value)
    elif isinstance(value, str) and (file := given.find(value)):
        value = json.loads(file.read_text())
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        raise ValueError("should be a list of the layers' names")
    return names


def optimizer_config(value: Any, _: Given) -> Any:
    """'key=value,key=value' as a mapping."""
    if isinstance(value, dict):
        return value
    pairs = [part.partition("=") for part in str(value).split(",") if part.strip()]
    if any(not key.strip() or not equals for key, equals, _ in pairs):
        raise ValueError("should be like 'key=value,key=value'")
    return Becomes({key.strip(): _scalar(text) for key, _, text in pairs}, "passed on; checked when training starts")


def _scalar(text: str) -> Any:
    if text.strip().lower() in ("true", "false"):
        return truth(text)
    try:
        return number(text)
    except ValueError:
        return text.strip()


def shift(value: Any, given: Given) -> Any:
    """The static shift, where 0 is none."""
    if number(value) > 0:
        return value
    if given.is_on("flow_schedule_auto_shift"):
        return LeftOut("not needed", "0 leaves it to 'flow_schedule_auto_shift'")
    return Becomes(1.0, "0 there is no shift, as 1 is")


def auto_shift(value: Any, given: Given) -> Any:
    """The shift by the number of tokens, which a static one wins over."""
    if truth(value) and given.amount("flow_schedule_shift") > 0:
        return LeftOut("no effect", "'flow_schedule_shift' wins over it")
    return truth(value)


def beta_schedule(value: Any, given: Given) -> Any:
    """Noise levels from a Beta distribution, if not uniform ones are asked for, too."""
    if truth(value) and given.is_on("flow_use_uniform_schedule"):
        return LeftOut("no effect", "'flow_use_uniform_schedule' is set, too: one distribution is possible")
    return truth(value)


def clip_at(value: Any, _: Given) -> Any:
    """`max_grad_norm`, where 0 clips nothing."""
    return Becomes(UNCLIPPED, "0 there clips nothing, nor does this") if number(value) == 0 else value


def resolution(value: Any, given: Given) -> Any:
    """Sizes to draw: edges that Sana can draw, megapixels as the edge of a square."""
    if "validation_resolution" not in given:
        return Becomes(None, "SimpleTuner's default is 256; null: what the model was made for")
    parts = [part.strip() for part in str(value).split(",") if part.strip()]
    sizes = [_size(part) for part in parts]
    changed = ",".join(sizes) != ",".join(parts).lower()
    return Becomes(",".join(sizes), f"'{value}' in edges that {EDGE} divides" if changed else "")


def _size(part: str) -> str:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:[xX](\d+))?", part)
    if not found:
        raise ValueError(f"'{part}' is no size: write '1024x1024', or one edge")
    width, height = float(found[1]), found[2]
    if height is None and width < 128:  # megapixels
        width = (width * 1024**2) ** 0.5
    edges = [max(EDGE, round(float(edge) / EDGE) * EDGE) for edge in (width, height) if edge is not None]
    return "x".join(map(str, edges))


def guidance(value: Any, _: Given) -> Any:
    """1 or more."""
    return value if number(value) >= 1 else Becomes(1.0, f"{value} there is no guidance, as 1 is")


def seed(value: Any, _: Given) -> Any:
    """A seed; a negative one asks for chance."""
    return value if number(value) >= 0 else LeftOut("not needed", "asks for chance: every run has a seed here, 42")


def if_drawn(then: Convert = lambda value, given: value) -> Convert:
    """For runs that draw pictures while training."""

    def convert(value: Any, given: Given) -> Any:
        if given.is_on("validation_disable"):
            return LeftOut("not needed", "'validation_disable' is set: without prompts nothing is drawn")
        return then(value, given)

    return convert


def clip_model(value: Any, _: Given) -> Any:
    """The model that scores, in open_clip's names."""
    if str(value).lower() not in CLIP_MODELS:
        return LeftOut("missing", "no open_clip model is known for it: set 'evaluation.evaluation_model'")
    name, tag = CLIP_MODELS[str(value).lower()]
    return Becomes(name, "open_clip's name of it", {"evaluation.evaluation_pretrained": tag})


def trackers(value: Any, _: Given) -> Any:
    """Where curves go."""
    names = value if isinstance(value, list) else str(value).split(",")
    asked = {str(name).strip().lower() for name in names}
    if asked <= {"none", ""}:
        return "none"
    found = {"tensorboard", "wandb"} & asked
    if "all" in asked or len(found) == 2:
        return "all"
    if not found:
        return LeftOut("missing", "'tensorboard', 'wandb' and 'all' are what there is")
    others = sorted(asked - found - {"none"})
    return Becomes(found.pop(), f"without {', '.join(others)}, which isn't here" if others else "")


def compiled(value: Any, _: Given) -> Any:
    """Whether blocks are compiled."""
    name = str(value).lower()
    return Becomes(name != "no", "each block by inductor, the one there is" if name not in ("no", "inductor") else "")


def text_batch(value: Any, _: Given) -> Any:
    """Captions encoded at once."""
    if number(value) > 1:
        return value
    return LeftOut("not needed", "one at a time is all that works for Sana there; here 32 give the same")
