"""Which pictures and captions differ between two model versions, as counts."""

from collections.abc import Mapping

from sanaflow.errors import InputError
from sanaflow.lineage.records import Record
from steps.lineage.tables import read_table


def differing_data(one: Record, two: Record) -> dict[str, int] | None:
    """How many pictures were `added` from `one` to `two`, `removed`, `kept`, and kept with `other_captions`.

    None if it can't be told, as where a version has no image table that the active stack can read.
    """
    if "images" in one.data and one.data["images"] == two.data.get("images"):
        return {"added": 0, "removed": 0, "kept": one.pictures or 0, "other_captions": 0}
    try:
        first, second = captions_by_picture(one), captions_by_picture(two)
    except InputError:
        return None
    return changes(first, second)


def changes(first: Mapping[str, set[str]], second: Mapping[str, set[str]]) -> dict[str, int]:
    """As `differing_data`, of captions by picture."""
    kept = first.keys() & second.keys()
    return {
        "added": len(second.keys() - kept),
        "removed": len(first.keys() - kept),
        "kept": len(kept),
        "other_captions": sum(first[picture] != second[picture] for picture in kept),
    }


def captions_by_picture(record: Record) -> dict[str, set[str]]:
    """The captions of each picture of a version, by the picture's id.

    Raises:
        InputError: The version has none, or they can't be read.
    """
    if "image_table" not in record.folders:
        raise InputError(f"{record.name} has no artifact 'image_table': it was made by another pipeline, or failed")
    found: dict[str, set[str]] = {}
    for row in read_table(record.folders["image_table"], "pictures.parquet", ["id", "captions"]).itertuples():
        found.setdefault(str(row.id), set()).update(map(str, row.captions))
    return found
