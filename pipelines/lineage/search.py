"""Which model versions saw a picture or a caption: what a request for removal needs to know.

Tables are read one version at a time, and those of the same content once, so that memory doesn't grow with versions.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from sanaflow.cache.index import normalise
from sanaflow.errors import InputError
from sanaflow.lineage.records import Record, parent_of
from steps.lineage.tables import read_table

NOT_TRAINED = "left out"
"""What a picture is for that is in the image table, but of which no latents were trained on or measured."""


def uses_of_picture(picture: str, records: Sequence[Record]) -> list[dict[str, str]]:
    """One row a version, data set and file: `version`, `dataset`, `file`, and what it was there for, its `role`.

    Args:
        picture: sha256 of its bytes.
        records: The versions.
    """

    def look(record: Record) -> list[dict[str, str]]:
        columns = ["dataset", "id", "file", "mask_id"]
        either = [[("id", "==", picture)], [("mask_id", "==", picture)]]
        found = read_table(record.folders["image_table"], "pictures.parquet", columns, either)
        return _with_roles(found.assign(is_mask=found["id"] != picture), record, ["dataset", "file"])

    return _look_up(records, "image_table", look)


def uses_of_caption(caption: str, records: Sequence[Record]) -> list[dict[str, str]]:
    """The same for a text, as `uses_of_picture`, with each `caption` and the `id` of its picture.

    Args:
        caption: The whole text, in which `*` stands for anything; upper and lower case are one, as for the encoder.
        records: The versions.
    """
    pattern = re.compile(".*".join(re.escape(part) for part in normalise(caption).split("*")), re.DOTALL)

    def look(record: Record) -> list[dict[str, str]]:
        captions = read_table(record.folders["caption_cache"], "captions.parquet", ["dataset", "id", "caption"])
        found = captions[[bool(pattern.fullmatch(normalise(text))) for text in captions["caption"]]]
        return _with_roles(found.assign(is_mask=False), record, ["dataset", "id", "caption"])

    return _look_up(records, "caption_cache", look)


def pictures_of(record: Record) -> pd.DataFrame:
    """`dataset`, `id`, `role` and `uri`, where it was when the run began, of every picture."""
    table = read_table(record.folders["image_table"], "pictures.parquet", ["dataset", "id", "uri"])
    return table.merge(_roles(record, None), on=["dataset", "id"], how="left").fillna({"role": NOT_TRAINED})


def _look_up(
    records: Sequence[Record], artifact: str, look: Callable[[Record], list[dict[str, str]]]
) -> list[dict[str, str]]:
    seen: dict[str, list[dict[str, str]]] = {}
    uses: list[dict[str, str]] = []
    trained: set[str] = set()
    for record in records:
        if artifact not in record.folders:
            continue
        content = f"{record.data}"
        if content not in seen:
            try:
                seen[content] = look(record)
            except InputError as error:  # never to be taken for "not used"
                uses.append({"version": record.name, "role": f"can't be looked up: {error.message}"})
                continue
        uses += [{"version": record.name, **use} for use in seen[content]]
        parent = parent_of(record, records)
        inherits = parent is not None and parent.name in trained
        if parent and inherits and not seen[content]:
            uses.append({"version": record.name, "role": f"began with {parent.name}"})
        if inherits or any(use["role"].endswith(("train", "regularisation")) for use in seen[content]):
            trained.add(record.name)
    return uses


def _with_roles(found: pd.DataFrame, record: Record, columns: list[str]) -> list[dict[str, str]]:
    if not len(found):
        return []
    rows: Any = found.merge(_roles(record, set(found["id"])), on=["dataset", "id"], how="left")
    roles = rows["role"].fillna(NOT_TRAINED)
    rows["role"] = roles.where(~rows["is_mask"], "mask, " + roles)
    return [dict(row) for row in rows[[*columns, "role"]].drop_duplicates().to_dict("records")]


def _roles(record: Record, pictures: set[str] | None) -> pd.DataFrame:
    """What pictures are for, by data set: train, regularisation or eval."""
    if "latent_cache" not in record.folders:
        return pd.DataFrame(columns=["dataset", "id", "role"], dtype=str)
    which = None if pictures is None else [[("id", "in", pictures)]]
    entries = read_table(record.folders["latent_cache"], "entries.parquet", ["dataset", "id", "role"], which)
    return entries.drop_duplicates()
