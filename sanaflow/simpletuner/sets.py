"""The entries of a multidatabackend.json as a run's `datasets:`. The keys stay; what has changed about them is said."""

from collections.abc import Mapping
from typing import Any, get_args

from sanaflow.dataset_parts import MetadataTable
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError, nearest
from sanaflow.simpletuner.draft import Draft, Line
from sanaflow.simpletuner.entries import ASKS_FOR_NOTHING, OTHER_SPELLINGS, SECRETS, WHOLE_RUN, WITHOUT_EFFECT
from sanaflow.simpletuner.names import SECRET
from sanaflow.simpletuner.optimizers import is_lora
from sanaflow.simpletuner.option import Given, LeftOut, asks_for_nothing, number

FALLBACKS = (
    *("resolution", "resolution_type", "minimum_image_size", "maximum_image_size", "target_downsample_size"),
    *("caption_strategy", "instance_prompt", "prepend_instance_prompt", "only_instance_prompt"),
    "aspect_bucket_rounding",
)
"""Options of the configuration that hold for every entry that doesn't say it itself."""
MISSING = {
    **dict.fromkeys(("conditioning", "source_dataset_id"), "nothing is generated from pictures"),
    **dict.fromkeys(("filter_func", "quality"), "rows aren't filtered; section 'quality' leaves pictures out"),
    **dict.fromkeys(("slider_strength",), "there are no slider adapters"),
    **dict.fromkeys(("video", "audio"), "Sana draws pictures"),
}
"""Keys of an entry that nothing here does."""
STORES = ("image_embeds", "conditioning_image_embeds", "distillation_cache", "caption")
"""Kinds of entries that hold what is made from pictures."""
ALIGNED = ("crop", "resolution_type", "maximum_image_size", "buckets")
WHY = {
    "max_upscale_threshold": "no effect in SimpleTuner; here pictures are left out by it",
    "maximum_image_size": "only pictures above it are resized first; in SimpleTuner all are",
    "probability": "the share of the set that an epoch shows; in SimpleTuner a weight beside other sets",
}
"""What differs about keys that stay."""


def import_datasets(entries: list[Any], given: Given, draft: Draft) -> None:
    """Put every entry that a run here can use into the draft.

    Raises:
        InputError: Something in the list is no entry, or none can be used.
    """
    for place, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise InputError(f"the dataset at place {place + 1} should be an object with an 'id'")
        name = f"datasets[{entry.get('id', place)}]"
        if reason := _not_here(entry):
            draft.left_out[name] = reason
        else:
            draft.datasets.append(_entry(entry, name, given, draft))
    gone = [f"{name}: {reason.why}" for name, reason in draft.left_out.items() if name.endswith("]")]
    if gone and not draft.datasets:
        raise InputError(f"no dataset is left to train on; {gone[0]}")
    for lines in draft.datasets:
        _drop_references(lines, draft)
    used = [option for option in FALLBACKS if option in given]
    draft.left_out |= {option: _fallback_unused(option, given[option]) for option in used if not draft.has(option)}


def _fallback_unused(option: str, value: Any) -> LeftOut:
    if asks_for_nothing(value):
        return LeftOut("not needed", "asks for nothing")
    if _is_default(option, value):
        return LeftOut("not needed", "is the default here, too")
    return LeftOut("not needed", "every dataset says it itself")


def _is_default(option: str, value: Any) -> bool:
    return str(DatasetSettings.model_fields[option].default) == str(value)


def _not_here(entry: Mapping[str, Any]) -> LeftOut | None:
    """Why an entry as a whole is of no use here."""
    kind, source = entry.get("dataset_type", "image"), entry.get("type", "local")
    if kind in STORES:
        return LeftOut("not needed", "everything made from pictures is kept in the artifact store")
    if kind == "text_embeds" and not entry.get("caption_filter_list"):
        return LeftOut(
            "not needed", "embeddings are kept in the artifact store; of it only 'caption_filter_list' counts"
        )
    for key, value in (("dataset_type", kind), ("type", source)):
        possible = get_args(DatasetSettings.model_fields[key].annotation)
        if value not in possible and not (key == "type" and kind == "text_embeds"):
            return LeftOut("missing", f"there is no {key} '{value}' here: {', '.join(possible)} are possible")
    if kind == "conditioning" and entry.get("conditioning_type") != "mask":
        return LeftOut("missing", "of conditioning sets, masks ('conditioning_type: mask') are what there is")
    return None


def _entry(entry: Mapping[str, Any], name: str, given: Given, draft: Draft) -> dict[str, Line]:
    lines: dict[str, Line] = {}
    for written, value in entry.items():
        key, option = OTHER_SPELLINGS.get(written, written), f"{name}.{written}"
        if value is None or value == "":
            continue
        if reason := _left_out(key, value):
            draft.left_out[option] = reason
        elif key == "parquet" and isinstance(value, Mapping):
            table = {k: v for k, v in value.items() if k in MetadataTable.model_fields and v is not None}
            lines[key] = Line(table, option=option)
            for other in value.keys() - MetadataTable.model_fields.keys():
                draft.left_out[f"{name}.parquet.{other}"] = LeftOut("missing", "a table gives captions only")
        elif key == "probability":
            lines[key] = _probability(value, option)
        elif key == "disabled" and key in lines:
            lines[key] = Line(lines[key].value or value, option=option)
        else:
            lines[key] = Line(value, WHY.get(key, ""), option)
    if lines.get("dataset_type", Line("image")).value != "text_embeds":
        _add_what_holds_for_all(lines, given)
    regularisation = lines.get("is_regularisation_data")
    if regularisation and regularisation.value and not is_lora(given):
        why = "under model_type 'full' it is trained on like any other, as there"
        lines["is_regularisation_data"] = Line(True, why, regularisation.option)
    return lines


def _left_out(key: str, value: Any) -> LeftOut | None:
    if key in SECRETS or SECRET.search(key):
        return LeftOut("secret", "put it into the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, HF_TOKEN")
    if key in WITHOUT_EFFECT:
        return LeftOut("not needed", WITHOUT_EFFECT[key])
    if key in WHOLE_RUN:
        if value in WHOLE_RUN[key]:
            return LeftOut("not needed", "asks for nothing")
        return LeftOut("missing", "a set can't be limited to a part of the run")
    if key in ASKS_FOR_NOTHING and value in ASKS_FOR_NOTHING[key]:
        return LeftOut("not needed", "asks for nothing")
    if key == "timestep_sampling_offset":
        return LeftOut("no effect", "SimpleTuner draws Sana's noise levels without it")
    if key in MISSING:
        return (
            LeftOut("not needed", "asks for nothing") if asks_for_nothing(value) else LeftOut("missing", MISSING[key])
        )
    if key not in DatasetSettings.model_fields or key == "without_effect":
        known = {*DatasetSettings.model_fields, *WITHOUT_EFFECT, *WHOLE_RUN, *MISSING}
        return LeftOut("unknown", nearest(key, known))
    return None


def _add_what_holds_for_all(lines: dict[str, Line], given: Given) -> None:
    """The configuration's own options for entries without theirs, and SimpleTuner's buckets."""
    is_mask = "dataset_type" in lines and lines["dataset_type"].value == "conditioning"
    for option in () if is_mask else FALLBACKS:
        wanted = option in given and not asks_for_nothing(given[option]) and not _is_default(option, given[option])
        if wanted and option not in lines:
            lines[option] = Line(given[option], "from the configuration, as the entry says none", option)
    if not any(key in lines for key in ALIGNED):
        lines["buckets"] = Line("aligned", "SimpleTuner's; 'sana' takes the sizes that Sana was trained at")
    if "crop_style" not in lines:
        lines["crop_style"] = Line("center", "random in SimpleTuner where it isn't set")


def _probability(value: Any, option: str) -> Line:
    try:
        share = number(value)
    except ValueError:
        return Line(value, option=option)  # our settings say what it should be
    why = WHY["probability"]
    return Line(1.0, f"{share} there: {why}", option) if share > 1 else Line(share, why, option)


def _drop_references(lines: dict[str, Line], draft: Draft) -> None:
    """Take out what names an entry that isn't there any more."""
    for key in ("conditioning_data", "text_embeds"):
        if key not in lines:
            continue
        named = lines[key].value if isinstance(lines[key].value, list) else [lines[key].value]
        remaining = [name for name in named if f"datasets[{name}]" not in draft.left_out]
        if named and not remaining:
            del lines[key]
            name = lines["id"].value if "id" in lines else "?"
            kind = draft.left_out[f"datasets[{named[0]}]"].kind
            draft.left_out[f"datasets[{name}].{key}"] = LeftOut(kind, f"names '{named[0]}', which is left out")
        elif remaining != named:
            lines[key] = Line(remaining, "without what is left out", lines[key].option)
