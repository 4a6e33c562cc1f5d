"""Train the projections of the packaged CLIP, `assets/clip/`: they have never seen the pictures that the demo teaches.

    python -m benchmarks.sana_tiny.clip        # needs Debian's openclipart-svg and the package resvg-py

Both towers are frozen; their features are computed once, then two matrices are trained on them in a minute. What a
banana looks like they know from clip art and from Google's emoji, so that they can judge what a model has learned of
the 36 without having been taught by the same pictures. (Without any fruit or vegetable they are no judge: of the 36
originals they find 0 to 3 % first, the margin of which is 1.3, 95 % interval -0.5 to 3.1.)
"""

import argparse
import hashlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors.torch import save_file

from benchmarks.sana_tiny.judge import retrieval
from benchmarks.sana_tiny.pictures import ANOTHER_HAND, PACKAGE, PRODUCE, fetch_pictures, framed, on_white
from sanaflow.evaluation.packaged_clip import PROJECTIONS, build_packaged_clip
from sanaflow.progress import progress_bar

CLIP_ART = Path("/usr/share/openclipart/svg")
EPOCHS, BATCH, RATE, DECAY, TEMPERATURE = 60, 1024, 1e-3, 0.2, 0.05
NOT_WORDS = re.compile(r"part of the flat icon|^(hash|clip ?art|media|image|unsorted|svg|$)|[\d_]{3,}", re.IGNORECASE)
DC, RDF = "{http://purl.org/dc/elements/1.1/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


Captioned = Sequence[tuple[Image.Image, tuple[str, ...]]]


def main() -> None:
    """Train, measure, write."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--clip-art", type=Path, default=CLIP_ART)
    arguments = cli.parse_args()
    model, preprocess, tokenizer = build_packaged_clip()
    emoji, other_emoji = (
        {name: framed(picture, "1x1") for name, picture in fetch_pictures(package).items()}
        for package in (PACKAGE, ANOTHER_HAND)
    )
    groups: dict[str, Captioned] = {
        "emoji": [(p, (n, f"a {n}")) for n, p in emoji.items() if n not in PRODUCE],
        "clip art": list(clip_art(arguments.clip_art)),
        "other emoji": [(p, (n, f"a {n}")) for n, p in other_emoji.items()],
        "produce": [(emoji[name], (name,)) for name in PRODUCE],
    }
    features = {name: _features(model, preprocess, tokenizer, group, name) for name, group in groups.items()}
    held_out = {name: torch.tensor([_hash(texts[0]) % 20 == 0 for _, texts in group]) for name, group in groups.items()}
    learned = [tuple(part[~held_out[name]] for part in features[name]) for name in groups if name != "produce"]
    pictures, texts = (torch.cat(parts) for parts in zip(*learned, strict=True))
    projections = train(pictures, texts)
    for name, (pictures, texts) in features.items():
        shown = slice(None) if name == "produce" else held_out[name]
        _tell(f"{name}, never seen", pictures[shown], texts[shown], projections)
    save_file({name: value.half() for name, value in projections.items()}, PROJECTIONS)
    print(f"written: {PROJECTIONS}")


def clip_art(folder: Path) -> Iterator[tuple[Image.Image, tuple[str, str]]]:
    """Public-domain pictures with a title and keywords."""
    import resvg_py

    for path in progress_bar(sorted(folder.rglob("*.svg")), desc="clip art", unit="file"):
        try:
            root = ElementTree.parse(path).getroot()
            title = (root.findtext(f".//{DC}title") or "").strip()
            keywords = [(item.text or "").strip() for item in root.iter(f"{RDF}li")]
        except ElementTree.ParseError:
            continue
        keywords = [word for word in keywords if not NOT_WORDS.search(word)]
        title = " ".join(keywords[:2]) if NOT_WORDS.search(title) else title
        texts = (title, " ".join(keywords[:3]) or title)
        if not title:
            continue
        try:
            picture = Image.open(BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=224)))).convert("RGBA")
        except KeyboardInterrupt:
            raise
        except BaseException:  # a panic of resvg's is no Exception
            continue
        if 0.2 < picture.width / picture.height < 5:
            yield picture, texts


def train(pictures: torch.Tensor, texts: torch.Tensor) -> dict[str, torch.Tensor]:
    """The matrices, by contrast of each picture with the others' texts (https://arxiv.org/abs/2103.00020).

    Args:
        pictures: Features (pictures, views, 1280).
        texts: Features (pictures, texts, 384).
    """
    torch.manual_seed(0)
    image = torch.nn.Linear(pictures.shape[-1], 384, bias=False)
    text = torch.nn.Linear(texts.shape[-1], 384, bias=False)
    torch.nn.init.eye_(text.weight)
    parameters = [*image.parameters(), *text.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * (len(pictures) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in progress_bar(range(steps), desc="projections", unit="step"):
        rows = torch.randperm(len(pictures))[:BATCH]
        seen = pictures[rows, torch.randint(pictures.shape[1], (BATCH,))]
        said = texts[rows, torch.randint(texts.shape[1], (BATCH,))]
        logits = F.normalize(image(seen), dim=-1) @ F.normalize(text(said), dim=-1).T / TEMPERATURE
        target = torch.arange(BATCH)
        loss = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    scale = torch.tensor(1 / TEMPERATURE).log()
    return {"visual.head.proj.weight": image.weight.data, "text.proj.weight": text.weight.data, "logit_scale": scale}


@torch.inference_mode()
def _features(
    model: Any, preprocess: Any, tokenizer: Any, group: Captioned, name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the towers alone: (pictures, 2 views, 1280) and (pictures, texts, 384)."""
    trunk = model.visual.trunk.to(memory_format=torch.channels_last)
    pictures = []
    for i in progress_bar(range(0, len(group), 8), desc=name, unit="batch"):  # more at once falls out of CPU caches
        whole = [ImageOps.pad(on_white(picture), (224, 224), color="white") for picture, _ in group[i : i + 8]]
        pixels = torch.stack([preprocess(view) for picture in whole for view in (picture, ImageOps.mirror(picture))])
        pictures.append(trunk(pixels.to(memory_format=torch.channels_last)).unflatten(0, (-1, 2)))
    said = [text for _, texts in group for text in texts]
    model.text.proj = torch.nn.Identity()
    texts = torch.cat([model.encode_text(tokenizer(said[i : i + 64])) for i in range(0, len(said), 64)])
    return torch.cat(pictures).clone(), texts.unflatten(0, (len(group), -1)).clone()


def _tell(what: str, pictures: torch.Tensor, texts: torch.Tensor, projections: dict[str, torch.Tensor]) -> None:
    seen = F.normalize(pictures[:, 0] @ projections["visual.head.proj.weight"].T, dim=-1)
    said = F.normalize(texts[:, 0] @ projections["text.proj.weight"].T, dim=-1)
    print(f"{what}: {retrieval(seen, said)}", flush=True)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


if __name__ == "__main__":
    main()
