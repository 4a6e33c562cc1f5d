"""How well the bundled model draws what it was trained on: CLIP finds each picture's name among 64.

python -m benchmarks.sana_tiny.judge
"""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import SanaPipeline
from PIL import Image

from benchmarks.sana_tiny.bundle import judged
from benchmarks.sana_tiny.pictures import fetch_pictures, framed, on_white
from sanaflow.config import EvaluationSettings
from sanaflow.evaluation.clip import load_clip
from sanaflow.images.contact_sheet import contact_sheet

PROJECT = Path(__file__).resolve().parents[2]
MODEL = PROJECT / "assets" / "sana-tiny"
SHEET = PROJECT / "assets" / "readme" / "sana-tiny.png"
EDGE, STEPS, GUIDANCE = 128, 20, 2.0


def judge(folder: Path) -> None:
    """Print the table and write the sheet."""
    found = fetch_pictures(folder / "package")
    names = judged(list(found))
    originals = [on_white(framed(found[name], "1x1")).resize((EDGE, EDGE), Image.Resampling.LANCZOS) for name in names]
    began = time.process_time()
    drawn = draw(MODEL, names)
    seconds = (time.process_time() - began) / len(drawn)
    clip = load_clip(EvaluationSettings(evaluation_model="packaged"))
    texts = clip.embed_prompts(names, batch_size=32)
    print(f"{'':<12}{'top 1':>8}{'top 5':>8}{'matched':>9}{'others':>9}")
    for what, pictures in (("originals", originals), ("drawn", drawn)):
        scores = clip.embed_pictures(pictures, batch_size=32) @ texts.T
        rank = (scores > scores.diagonal()[:, None]).sum(dim=1)
        others = (scores.sum() - scores.trace()) / (len(names) * (len(names) - 1))
        print(
            f"{what:<12}{(rank < 1).float().mean():>8.1%}{(rank < 5).float().mean():>8.1%}"
            f"{100 * scores.diagonal().mean():>9.2f}{100 * others:>9.2f}"
        )
    print(f"{seconds:.2f} CPU seconds a picture of {EDGE} x {EDGE} pixels, {STEPS} steps")
    pairs: list[Image.Image] = []
    labels: list[str] = []
    for i in range(0, len(names), 16):
        pairs += [*originals[i : i + 16], *drawn[i : i + 16]]
        labels += [*names[i : i + 16], *[""] * 16]
    contact_sheet(pairs, labels, columns=16, edge=96).save(SHEET)


def draw(model: Path, names: Sequence[str], *, seed: int = 0) -> list[Image.Image]:
    """A picture for each name, as a user would draw it."""
    pipeline = SanaPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pictures = []
    for i in range(0, len(names), 16):
        batch = list(names[i : i + 16])
        pictures += pipeline(
            batch,
            height=EDGE,
            width=EDGE,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            use_resolution_binning=False,
            generator=[torch.Generator().manual_seed(seed) for _ in batch],
        ).images
    return pictures


if __name__ == "__main__":
    judge(PROJECT / ".sana-tiny")
