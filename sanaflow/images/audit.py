"""The look at all pictures' quality: measured once by content, near-duplicates across all sets, limits applied."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from PIL import __version__ as PILLOW

from sanaflow.config import QualitySettings
from sanaflow.digests import file_digest
from sanaflow.images import decode, faces, quality
from sanaflow.images.contact_sheet import contact_sheet
from sanaflow.images.decode import UnreadablePictureError, read_thumbnail
from sanaflow.images.duplicates import near_duplicates
from sanaflow.images.index import Index
from sanaflow.progress import progress_bar

MEASURES = ("blur", "blockiness", "upscaling", "contrast")
KEPT_AT_ONCE = 200
CHANGED = "it has changed or gone since it was listed: run again"
CONSPICUOUS = {"blur": 0.55, "blockiness": 1.0, "upscaling": 0.25, "contrast": 0.3}
"""Beyond these a picture is worth a look; contrast below. `python -m benchmarks.quality` says how telling they are."""
WORST = 8


def audit(pictures: pd.DataFrame, settings: QualitySettings, index: Index, rejected: list[dict]) -> pd.DataFrame:
    """Fill in the columns of quality, and leave out what is beyond the limits; adds to `rejected`."""
    if not settings.audit or pictures.empty:
        return pictures
    measured = _measure_all(pictures, "quality", [quality.__file__], _quality_of, index)
    problem = {digest: value for digest, value in measured.items() if isinstance(value, str)}
    pictures = _without(pictures, pictures["id"].isin(problem), lambda row: problem[row.id], rejected)
    for place, name in enumerate(MEASURES):
        pictures[name] = [measured[i][place] for i in pictures["id"]]
    distinct = pictures.drop_duplicates("id")
    groups = near_duplicates([measured[i][4] for i in distinct["id"]], distance=settings.duplicate_distance)
    pictures["duplicates"] = pictures["id"].map(dict(zip(distinct["id"], groups, strict=True)))

    for name in MEASURES:
        limit = getattr(settings, "min_contrast" if name == "contrast" else f"max_{name}")
        if limit is not None:
            beyond = pictures[name] < limit if name == "contrast" else pictures[name] > limit
            pictures = _without(pictures, beyond, lambda row, n=name: f"its {n} is {getattr(row, n):.2f}", rejected)
    if settings.drop_near_duplicates:
        by_size = pictures.assign(pixels=pictures["width"] * pictures["height"]).sort_values(
            ["pixels", "id"], ascending=[False, True]
        )
        best = by_size[by_size["duplicates"] >= 0].drop_duplicates("duplicates").set_index("duplicates")
        doubled = (pictures["duplicates"] >= 0) & (pictures["id"] != pictures["duplicates"].map(best["id"]))
        reason = "a near-duplicate of {}".format
        pictures = _without(pictures, doubled, lambda row: reason(best.at[row.duplicates, "file"]), rejected)
    _report(pictures)
    return pictures.reset_index(drop=True)


def conspicuous(pictures: pd.DataFrame, name: str) -> pd.Series:
    """Which pictures stand out by a measure."""
    return pictures[name] < CONSPICUOUS[name] if name == "contrast" else pictures[name] > CONSPICUOUS[name]


def worst_sheet(pictures: pd.DataFrame) -> Image.Image | None:
    """The worst pictures, a row a measure, with '!' where they stand out; None if none was measured."""
    shown, labels = [], []
    distinct = pictures.drop_duplicates("id")
    if distinct["blur"].isna().all():
        return None
    for name in MEASURES:
        stand_out = set(distinct.index[conspicuous(distinct, name)])
        for row in distinct.sort_values(name, ascending=name == "contrast").head(WORST).itertuples():
            shown.append(read_thumbnail(row.uri))
            mark = " !" if row.Index in stand_out else ""
            labels.append(f"{name} {getattr(row, name):.2f}{mark} {row.file}")
    return contact_sheet(shown, labels, columns=min(WORST, len(distinct)), edge=160)


def duplicates_sheet(pictures: pd.DataFrame, *, groups: int = 12, each: int = 6) -> Image.Image | None:
    """Groups of near-duplicates one after the other; None if there is none."""
    distinct = pictures[pictures["duplicates"] >= 0].drop_duplicates("id").sort_values(["duplicates", "file"])
    shown = (
        distinct[distinct["duplicates"].isin(distinct["duplicates"].unique()[:groups])].groupby("duplicates").head(each)
    )
    if shown.empty:
        return None
    labels = [f"group {row.duplicates}: {row.file}" for row in shown.itertuples()]
    return contact_sheet([read_thumbnail(uri) for uri in shown["uri"]], labels, columns=each, edge=160)


def find_faces(pictures: pd.DataFrame, datasets: set[str], index: Index) -> pd.DataFrame:
    """Fill in `face_x` and `face_y` for the pictures of these datasets."""
    looked_at = pictures[pictures["dataset"].isin(datasets)]
    found = _measure_all(looked_at, "face", [faces.__file__], _face_of, index)
    seen = {digest: value for digest, value in found.items() if value and not isinstance(value, str)}
    for place, name in enumerate(("face_x", "face_y")):
        pictures.loc[looked_at.index, name] = [seen[i][place] if i in seen else np.nan for i in looked_at["id"]]
    print(f"faces found in {len(seen):,} of {len(found):,} pictures; the others are cropped in the middle")
    return pictures


def _quality_of(data: bytes) -> list:
    found = quality.measure_quality(data)
    return [*(round(getattr(found, name), 4) for name in MEASURES), found.fingerprint]


def _face_of(data: bytes) -> list:
    return list(faces.find_face(data) or ())


def _measure_all(
    pictures: pd.DataFrame, kind: str, code: list[str], measure: Callable[[bytes], list], index: Index
) -> dict[str, list | str]:
    """Each distinct picture's measures, from the index or measured now; a text says why there are none."""
    kind = f"{kind} {PILLOW} {''.join(file_digest(Path(file)) for file in [*code, decode.__file__])}"
    distinct = pictures.drop_duplicates("id")
    known = index.measures(kind)
    measured = {i: known[i] for i in distinct["id"] if i in known}
    missing = [(row.id, row.uri) for row in distinct.itertuples() if row.id not in measured]
    if not missing:
        return measured
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress_bar(total=len(missing), desc=f"looking at {kind.split()[0]}", unit="picture") as progress,
    ):
        for start in range(0, len(missing), KEPT_AT_ONCE):
            some = missing[start : start + KEPT_AT_ONCE]
            values = list(pool.map(lambda item: _measured(measure, *item), some))
            found = [(digest, value) for (digest, _), value in zip(some, values, strict=True)]
            index.add_measures(kind, [(digest, value) for digest, value in found if value != CHANGED])
            measured |= dict(found)
            progress.update(len(some))
    return measured


def _measured(measure: Callable[[bytes], list], digest: str, uri: str) -> list | str:
    try:
        data = Path(uri).read_bytes()
        return measure(data) if hashlib.sha256(data).hexdigest() == digest else CHANGED
    except OSError:
        return CHANGED
    except UnreadablePictureError as error:
        return str(error)


def _without(
    pictures: pd.DataFrame, left_out: pd.Series, reason: Callable[..., str], rejected: list[dict]
) -> pd.DataFrame:
    rejected += [{"dataset": r.dataset, "file": r.file, "reason": reason(r)} for r in pictures[left_out].itertuples()]
    return pictures[~left_out].copy()


def _report(pictures: pd.DataFrame) -> None:
    distinct = pictures.drop_duplicates("id")
    counts = [f"{int(conspicuous(distinct, n).sum()):,} by {n}" for n in MEASURES]
    groups = int(np.unique(distinct["duplicates"][distinct["duplicates"] >= 0]).size)
    print(f"quality: of {len(distinct):,} pictures {', '.join(counts)} stand out; {groups:,} groups of near-duplicates")
