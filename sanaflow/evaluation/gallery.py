"""Pictures that models drew, with the words and numbers they came from."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from sanaflow.images.contact_sheet import contact_sheet

COLUMNS = ["label", "prompt", "seed", "width", "height"]


@dataclass(frozen=True)
class Gallery:
    """Drawn pictures.

    Attributes:
        rows: One row a picture: who drew it (`label`, for example 'step 100' or 'tuned'), `prompt`, `seed`, size in
            pixels.
        pictures: The pictures, in the rows' order.
    """

    rows: pd.DataFrame
    pictures: list[Image.Image]


def gallery_of(drawn: Sequence[tuple[str, str, int, Image.Image]]) -> Gallery:
    """A gallery of (label, prompt, seed, picture)."""
    rows = [(label, prompt, seed, *picture.size) for label, prompt, seed, picture in drawn]
    return Gallery(pd.DataFrame(rows, columns=COLUMNS), [picture for *_, picture in drawn])


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{uuid.uuid4().hex}.tmp")
    picture.save(hidden, "PNG")
    hidden.replace(path)


def timeline(gallery: Gallery, *, most: int = 8) -> Image.Image:
    """One row a (prompt, size, raw or ema), one column a step, of `most` steps evenly picked, the last among them."""
    rows = gallery.rows.assign(
        step=gallery.rows["label"].str.extract(r"step (\d+)", expand=False).astype(int),
        whose=gallery.rows["label"].str.extract(r", (\w+)$", expand=False).fillna(""),
    )
    steps = sorted(set(rows["step"]))
    if len(steps) > most:
        steps = sorted({steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)})
    pictures, labels = [], []
    for (prompt, _, _, whose), line in rows.groupby(["prompt", "width", "height", "whose"], sort=False):
        position_of = dict(zip(line["step"], line.index, strict=True))
        for step in steps:
            there = position_of.get(step)
            pictures.append(Image.new("RGB", (8, 8), "white") if there is None else gallery.pictures[there])
            labels.append(f"{step:,}{' ' + whose if whose else ''}: {prompt}")
    return contact_sheet(pictures, labels, columns=len(steps))


def gallery_sheet(gallery: Gallery, *, columns: int = 8) -> Image.Image:
    """One row a label ('step 100', 'base', 'tuned'), one column a prompt, for the first `columns` prompts."""
    by_label = [positions[:columns] for positions in gallery.rows.groupby("label", sort=False).indices.values()]
    shown = [position for positions in by_label for position in positions]
    labels = [f"{gallery.rows.at[i, 'label']}: {gallery.rows.at[i, 'prompt']}" for i in shown]
    return contact_sheet([gallery.pictures[i] for i in shown], labels, columns=len(by_label[0]))
