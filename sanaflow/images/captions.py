"""Captions of a picture, by the dataset's settings."""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from sanaflow.dataset_parts import CaptionShuffle
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.paths import expanded

SEPARATORS = {"comma": ",", "space": " ", "period": "."}


class MissingCaptionError(Exception):
    """A picture has no caption; the text names the file that should hold it."""


def captions_of(
    name: str,
    dataset: DatasetSettings,
    *,
    text: Callable[[str], str | None],
    table: Mapping[str, Sequence[str]],
    given: Sequence[str] | None,
    rewrite: Callable[[str], str],
) -> list[str]:
    """The captions of one picture.

    Args:
        name: Its path in the set.
        dataset: Its settings.
        text: Gives a text file of the set by its name, None if there is none.
        table: Captions by file name, for `caption_strategy: parquet`.
        given: What the source itself says, for `csv` and `huggingface`.
        rewrite: Applies the filter list.

    Raises:
        MissingCaptionError: There is none, or nothing is left of it.
    """
    if dataset.only_instance_prompt:
        return list(dict.fromkeys(dataset.prompts))
    captions = [c for c in map(rewrite, _plain(name, dataset, text, table, given)) if c]
    if not captions:
        raise MissingCaptionError("nothing is left of its caption after caption_filter_list")
    if dataset.caption_shuffle and dataset.caption_shuffle.enable:
        captions = [v for c in captions for v in shuffled(c, dataset.caption_shuffle)]
    if dataset.prepend_instance_prompt and dataset.caption_strategy != "instanceprompt":
        captions = [f"{prompt} {c}" for prompt in dataset.prompts for c in captions]
    return list(dict.fromkeys(captions))


def _plain(
    name: str,
    dataset: DatasetSettings,
    text: Callable[[str], str | None],
    table: Mapping[str, Sequence[str]],
    given: Sequence[str] | None,
) -> list[str]:
    """The captions before any rewrite."""
    strategy = dataset.caption_strategy
    if strategy == "instanceprompt":
        return list(dataset.prompts)
    if strategy == "filename":
        caption = PurePosixPath(name).stem.replace("_", " ").strip()
        if not caption:
            raise MissingCaptionError("its name holds no words")
        return [caption]
    if strategy == "textfile":
        return _lines(str(PurePosixPath(name).with_suffix(".txt")), dataset, text)
    if strategy == "parquet":
        assert dataset.parquet is not None
        path = PurePosixPath(name)
        with_ending = dataset.parquet.identifier_includes_extension
        identifiers = [name, path.name] if with_ending else [str(path.with_suffix("")), path.stem]
        found = next((table[i] for i in identifiers if i in table), None)
        if found is None:
            raise MissingCaptionError(f"the table '{dataset.parquet.path}' has no row for it")
        if not found:
            raise MissingCaptionError(f"its row in the table '{dataset.parquet.path}' has no caption")
        return list(found)
    if not given:
        raise MissingCaptionError(f"the source's table has no caption for it (caption_strategy: {strategy})")
    return list(given)


def _lines(name: str, dataset: DatasetSettings, text: Callable[[str], str | None]) -> list[str]:
    short = PurePosixPath(name).name
    content = text(name)
    if content is None:
        raise MissingCaptionError(f"its caption file {short} is missing")
    lines = [content] if dataset.disable_multiline_split else content.splitlines()
    if not (captions := [line.strip() for line in lines if line.strip()]):
        raise MissingCaptionError(f"its caption file {short} is empty")
    return captions


def shuffled(caption: str, settings: CaptionShuffle) -> list[str]:
    """A caption and variants of it with its parts in another order: a function of the caption and the seed."""
    separator = SEPARATORS[settings.split_on]
    parts = [part.strip() for part in caption.split(separator) if part.strip()]
    fixed, rest = parts[: settings.position_start], parts[settings.position_start :]
    joined = separator if separator == " " else separator + " "
    variants = [caption] if settings.include_original else []
    for number in range(settings.count):
        order = random.Random(f"{settings.seed} {number} {caption}").sample(rest, len(rest))
        variants.append(joined.join([*fixed, *order]))
    return list(dict.fromkeys(variants))


def caption_filter(dataset: DatasetSettings, datasets: Sequence[DatasetSettings]) -> Callable[[str], str]:
    """What `caption_filter_list` of the set, or of the text_embeds entry it uses, does to a caption.

    An item is `s/search/replace/`, or what is to be taken out: as it stands where it is in the caption, else as a
    regular expression. Spaces that are left doubled become one.

    Raises:
        InputError: A file can't be read, or an item is no regular expression.
    """
    storage = [d for d in datasets if d.dataset_type == "text_embeds" and not d.disabled]
    first = [d for d in storage if d.default] or storage
    named = [d for d in storage if d.id == dataset.text_embeds] if dataset.text_embeds else first[:1]
    items = [item for d in (*named, dataset) for item in _items(d)]
    rules: list[tuple[str, re.Pattern[str], str]] = []
    for item in items:
        sed = re.fullmatch(r"s/((?:\\/|[^/])+)/((?:\\/|[^/])*)/?", item)
        search, replace = (part.replace("\\/", "/") for part in sed.groups()) if sed else (item, "")
        try:
            rules.append(("" if sed else item, re.compile(search), replace))
        except re.error as error:
            raise InputError(
                f"dataset '{dataset.id}': caption_filter_list: '{item}' is no regular expression: {error}"
            ) from None

    def rewrite(caption: str) -> str:
        if not rules:
            return caption
        for literal, pattern, replace in rules:
            caption = caption.replace(literal, "") if literal and literal in caption else pattern.sub(replace, caption)
        return re.sub(r"[ \t]{2,}", " ", caption).strip()

    return rewrite


def _items(dataset: DatasetSettings) -> list[str]:
    listed = dataset.caption_filter_list or ()
    if not isinstance(listed, str):
        return [item for item in listed if item]
    try:
        content = expanded(listed).read_text(encoding="utf-8-sig")
        items = json.loads(content) if listed.endswith(".json") else content.splitlines()
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"dataset '{dataset.id}': caption_filter_list '{listed}' can't be read ({error})") from None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise InputError(f"dataset '{dataset.id}': caption_filter_list '{listed}' must be a list of texts")
    return [item for item in items if item]
