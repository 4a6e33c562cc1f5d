"""How well the bundled model draws what it was trained on: CLIP finds each picture's name among 64.

python -m benchmarks.sana_tiny.judge
"""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import SanaPipeline
from PIL import Image

from benchmarks.sana_tiny.pictures import EDGE, PROJECT, fetch_pictures, framed, judged, on_white
from sanaflow.config import EvaluationSettings
from sanaflow.evaluation.clip import load_clip
from sanaflow.images.contact_sheet import contact_sheet

MODEL = PROJECT / "assets" / "sana-tiny"
SHEET = PROJECT / "assets" / "readme" / "sana-tiny.png"
STEPS, GUIDANCE = 20, 2.0


def judge() -> None:
    """Print the table and write the sheet."""
    found = fetch_pictures()
    names = judged(found)
    originals = [on_white(framed(found[name], "1x1")).resize((EDGE, EDGE), Image.Resampling.LANCZOS) for name in names]
    began = time.process_time()
    drawn = draw(MODEL, names)
    seconds = (time.process_time() - began) / len(drawn)
    clip = load_clip(EvaluationSettings(evaluation_model="packaged"))
    texts = clip.embed_prompts(names, batch_size=32)
    for what, pictures in (("originals", originals), ("drawn", drawn)):
        print(f"{what}: {retrieval(clip.embed_pictures(pictures, batch_size=32), texts)}")
    print(f"{seconds:.2f} CPU seconds a picture of {EDGE} x {EDGE} pixels, {STEPS} steps")
    pairs: list[Image.Image] = []
    labels: list[str] = []
    for i in range(0, len(names), 16):
        pairs += [*originals[i : i + 16], *drawn[i : i + 16]]
        labels += [*names[i : i + 16], *[""] * 16]
    contact_sheet(pairs, labels, columns=16, edge=96).save(SHEET)


def retrieval(pictures: torch.Tensor, texts: torch.Tensor) -> str:
    """How often a picture's own text is among the nearest, and how near; both (pairs, channels) of unit length."""
    scores = pictures @ texts.T
    rank = (scores > scores.diagonal()[:, None]).sum(dim=1)
    found = ", ".join(f"top {k} {(rank < k).float().mean():.1%}" for k in (1, 5, 10))
    others = (scores.sum() - scores.trace()) / (len(scores) * (len(scores) - 1))
    return f"of {len(scores)}: {found}; cosine of its own {scores.diagonal().mean():.3f}, of the others {others:.3f}"


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
    judge()
