"""Do the measures of a picture's quality tell degraded pictures from clean ones, and what do they cost?

python -m benchmarks.quality [--json] [--figure PATH]

Clean pictures: 15 photographs that scikit-image and scikit-learn bring along, each whole, as two crops and smaller, and
the bundled emoji; all are saved as JPEGs of quality 95, as most pictures come. Each is degraded in the ways below.
AUC is the chance that a degraded picture measures worse than a clean one; hits are the degraded ones beyond the
threshold that 5% of the clean ones pass. Near-duplicates are looked for among the clean pictures and four copies of
each. Times are CPU milliseconds, medians.
"""

import io
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from PIL.Image import Resampling

from sanaflow.images.decode import read_upright
from sanaflow.images.duplicates import near_duplicates
from sanaflow.images.quality import measure_quality

ROOT = Path(__file__).resolve().parent.parent
IN_SCIKIT_IMAGE = (
    *("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "immunohistochemistry"),
    *("hubble_deep_field", "retina", "rocket", "stereo_motorcycle"),
)
IN_SCIKIT_LEARN = ("china.jpg", "flower.jpg")
JPEGS = {"hubble_deep_field", "retina", "rocket", *IN_SCIKIT_LEARN}
DISTANCES = (0, 2, 4, 6, 8, 10, 12)

Degrade = Callable[[Image.Image], Image.Image]


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw the ROC curves into this PNG.")
def main(as_json: bool, figure: Path | None) -> None:
    """Measure and print."""
    photographs, emoji = _photographs(), _emoji()
    pictures = photographs | emoji
    clean = [measure_quality(_jpeg(picture)) for picture in pictures.values()]
    rows, curves = [], {}
    for measure, degradations in DEGRADATIONS.items():
        sign = -1 if measure == "contrast" else 1
        negatives = sign * np.array([getattr(quality, measure) for quality in clean])
        for name, degrade in degradations.items():
            degraded = [measure_quality(_jpeg(degrade(picture))) for picture in pictures.values()]
            positives = sign * np.array([getattr(quality, measure) for quality in degraded])
            threshold = np.quantile(negatives, 0.95)
            split = len(photographs)
            rows.append(
                {
                    "measure": measure,
                    "degraded": name,
                    "auc": _auc(negatives, positives),
                    "auc_photographs": _auc(negatives[:split], positives[:split]),
                    "auc_emoji": _auc(negatives[split:], positives[split:]),
                    "hits": float(np.mean(positives > threshold)),
                    "threshold": float(sign * threshold),
                    "median": float(sign * np.median(positives)),
                    "median_clean": float(sign * np.median(negatives)),
                }
            )
            curves[measure, name] = _roc(negatives, positives)
    result: dict[str, Any] = {"pictures": len(pictures), "degraded": rows, "duplicates": _find_copies(pictures)}
    result["milliseconds"] = _time(photographs)
    if figure:
        _draw(curves, figure)
    if as_json:
        print(json.dumps({"benchmark": "quality", **result}))
    else:
        _print(result)


def _photographs() -> dict[str, Image.Image]:
    """Each photograph whole, as two crops off the grid of 8 pixels, and at 60% of its size."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    arrays = {name: getattr(data, name)() for name in IN_SCIKIT_IMAGE}
    arrays["stereo_motorcycle"] = arrays["stereo_motorcycle"][0]
    arrays |= {name: load_sample_image(name) for name in IN_SCIKIT_LEARN}
    pictures = {}
    for name, array in arrays.items():
        whole = Image.fromarray(array).convert("RGB")
        if name in JPEGS:  # half the size hides what its own JPEG left
            whole = whole.reduce(2)
        width, height = whole.size
        pictures[name] = whole
        pictures[f"{name}, top left"] = whole.crop((3, 5, width * 2 // 3, height * 2 // 3))
        pictures[f"{name}, bottom right"] = whole.crop((width // 3 + 1, height // 3 + 2, width, height))
        pictures[f"{name}, small"] = _resized(whole, 0.6, Resampling.LANCZOS)
    return pictures


def _emoji() -> dict[str, Image.Image]:
    return {path.stem: read_upright(path.read_bytes()) for path in sorted((ROOT / "assets/pictures").glob("*.webp"))}


def _jpeg(picture: Image.Image, quality: int = 95) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _resized(picture: Image.Image, scale: float, filter_: Resampling) -> Image.Image:
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), filter_)


def _saved(picture: Image.Image, quality: int) -> Image.Image:
    return read_upright(_jpeg(picture, quality))


def _blurred(picture: Image.Image, sigma: float) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(sigma))


def _enlarged(picture: Image.Image, factor: float, filter_: Resampling, quality: int = 95) -> Image.Image:
    """At the picture's own size, but from one `factor` times smaller."""
    small = _resized(picture, 1 / factor, Resampling.LANCZOS)
    return _saved(small.resize(picture.size, filter_), quality)


def _squeezed(picture: Image.Image, share: float) -> Image.Image:
    return picture.point([128 + (value - 128) * share for value in range(256)] * 3)


def _cropped(picture: Image.Image) -> Image.Image:
    """Without 2% at the left and at the top."""
    return picture.crop((round(picture.width * 0.02), round(picture.height * 0.02), *picture.size))


DEGRADATIONS: dict[str, dict[str, Degrade]] = {
    "blur": {f"blurred, sigma {sigma}": partial(_blurred, sigma=sigma) for sigma in (1, 2, 3, 5)},
    "blockiness": {f"JPEG, quality {quality}": partial(_saved, quality=quality) for quality in (80, 50, 30, 20, 10)},
    "upscaling": {
        **{
            f"{name}, x{factor}": partial(_enlarged, factor=factor, filter_=filter_)
            for factor in (1.5, 2, 3, 4)
            for name, filter_ in (("bicubic", Resampling.BICUBIC), ("Lanczos", Resampling.LANCZOS))
        },
        "bicubic, x2, JPEG 80": partial(_enlarged, factor=2, filter_=Resampling.BICUBIC, quality=80),
    },
    "contrast": {f"squeezed to {share:.0%}": partial(_squeezed, share=share) for share in (0.5, 0.25, 0.1)},
}
COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "re-saved": partial(_jpeg, quality=60),
    "half size": lambda picture: _jpeg(_resized(picture, 0.5, Resampling.BICUBIC)),
    "2% cropped": lambda picture: _jpeg(_cropped(picture)),
    "brighter": lambda picture: _jpeg(ImageEnhance.Brightness(picture).enhance(1.2)),
}


def _auc(negatives: np.ndarray, positives: np.ndarray) -> float:
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, "left") + np.searchsorted(ordered, positives, "right")
    return float(below.mean() / 2 / len(ordered))


def _roc(negatives: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positives' rates over all thresholds."""
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate([negatives, positives]))[::-1]])
    return tuple(np.array([np.mean(values >= t) for t in thresholds]) for values in (negatives, positives))  # type: ignore[return-value]


def _find_copies(pictures: dict[str, Image.Image]) -> list[dict[str, float]]:
    """Pairs in one group against pairs of one picture; recall of each kind is of a copy and its original alone."""
    originals = [picture for name, picture in pictures.items() if not name.endswith(", small")]  # is a copy itself
    kinds = [[measure_quality(_jpeg(picture)).fingerprint for picture in originals]]
    kinds += [[measure_quality(copy(picture)).fingerprint for picture in originals] for copy in COPIES.values()]
    prints = [fingerprint for kind in kinds for fingerprint in kind]
    source = np.tile(np.arange(len(originals)), len(kinds))
    same = np.triu(source[:, None] == source, 1)
    rows = []
    for distance in DISTANCES:
        group = np.array(near_duplicates(prints, distance=distance))
        found = np.triu((group[:, None] == group) & (group >= 0), 1)
        row = {
            "distance": distance,
            "precision": float((found & same).sum() / max(1, found.sum())),
            "recall": float((found & same).sum() / same.sum()),
        }
        for name, kind in zip(COPIES, kinds[1:], strict=True):
            near = [(int(a, 16) ^ int(b, 16)).bit_count() <= distance for a, b in zip(kinds[0], kind, strict=True)]
            row[name] = float(np.mean(near))
        rows.append(row)
    return rows


def _time(photographs: dict[str, Image.Image]) -> dict[str, float]:
    """Of the whole measurement, and of `read_upright` alone, on a mosaic of the photographs."""
    times = {}
    for name, size in (("1 MP", (1024, 1024)), ("12 MP", (4000, 3000))):
        mosaic, x, y, tallest = Image.new("RGB", size), 0, 0, 0
        for picture in list(photographs.values()) * 30:
            if x >= size[0]:
                x, y, tallest = 0, y + tallest, 0
            mosaic.paste(picture, (x, y))
            x, tallest = x + picture.width, max(tallest, picture.height)
        data = _jpeg(mosaic, quality=90)
        for label, work in (("", measure_quality), (", decoding alone", read_upright)):
            taken = []
            for _ in range(7):
                began = time.process_time()
                work(data)
                taken.append((time.process_time() - began) * 1000)
            times[name + label] = median(taken)
    return times


def _print(result: dict[str, Any]) -> None:
    print(
        f"{'measure':<12}{'degraded':<24}{'AUC':>6}{'photos':>8}{'emoji':>7}{'hits':>7}{'threshold':>11}{'median':>8}"
    )
    for row in result["degraded"]:
        print(
            f"{row['measure']:<12}{row['degraded']:<24}{row['auc']:>6.3f}{row['auc_photographs']:>8.3f}"
            f"{row['auc_emoji']:>7.3f}{row['hits']:>7.0%}{row['threshold']:>11.2f}{row['median']:>8.2f}"
        )
    print(f"\n{'distance':<10}{'precision':>10}{'recall':>8}" + "".join(f"{name:>12}" for name in COPIES))
    for row in result["duplicates"]:
        rates = "".join(f"{row[name]:>12.0%}" for name in COPIES)
        print(f"{row['distance']:<10}{row['precision']:>10.3f}{row['recall']:>8.3f}{rates}")
    print("\nCPU ms: " + "; ".join(f"{name} {taken:.0f}" for name, taken in result["milliseconds"].items()))


def _draw(curves: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9), layout="constrained")
    for axes, measure in zip(figure.subplots(2, 2).flat, DEGRADATIONS, strict=True):
        names = list(DEGRADATIONS[measure])
        for number, name in enumerate(names):
            false, true = curves[measure, name]
            axes.plot(false, true, label=name, linewidth=2, alpha=0.85, color=f"C{number}")
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
        axes.axvline(0.05, color="grey", linewidth=0.8, linestyle="--")
        axes.set(title=measure, xlabel="clean pictures called degraded", ylabel="degraded pictures found")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(loc="lower right", fontsize=9)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.quality")
