"""CPU seconds of a training step beside other trainers, on the same model and pictures.

python -m benchmarks.peers --model MODEL --pictures FOLDER --peer diffusers=./run_diffusers.sh --peer ...

A peer is a command that is given the number of steps and an empty folder, and trains MODEL on FOLDER (pictures of 512
px, each with a NAME.txt) at the same setting: LoRA of rank 16 on to_q, to_k and to_v, AdamW, batch 4, fp32, 2 threads.
A step's cost is the difference between a long and a short run, start-up and caching excluded: ours has its caches from
the first run, theirs cache as they do. Rounds alternate; medians are compared.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import yaml

SHORT, LONG = 10, 40


def our_command(model: Path, pictures: Path, store: Path, folder: Path, steps: int, batch: int) -> list[str]:
    """`python -m sanaflow.training`, on caches in `store`."""
    run = {
        "model": {"pretrained_model_name_or_path": str(model)},
        "datasets": [
            {
                **{"id": "set", "instance_data_dir": str(pictures), "resolution": 512, "caption_strategy": "textfile"},
                **{"crop": True, "crop_aspect": "square", "repeats": 3},
            }
        ],
        "caches": {"text_encoder_dtype": "fp32"},
        "training": {
            **{"model_type": "lora", "lora_type": "standard", "lora_target_modules": ["to_q", "to_k", "to_v"]},
            **{"max_train_steps": steps, "train_batch_size": batch, "learning_rate": 1e-4, "mixed_precision": "no"},
            "checkpointing_steps": 100_000,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump({"parameters": run}))
    return [sys.executable, "-m", "sanaflow.training", str(folder / "run.yaml"), "--store", str(store)]


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a command and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Threads that wait by spinning would be counted by how busy the machine is.
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@click.command(help=__doc__)
@click.option("--model", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--pictures", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--peer", "peers", multiple=True, help="NAME=COMMAND")
@click.option("--batch", default=4, help="What the peers' commands use, too.")
@click.option("--rounds", default=3)
def main(model: Path, pictures: Path, peers: tuple[str, ...], batch: int, rounds: int) -> None:
    """Print medians and ratios."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, count = Path(scratch), 0

        def run(name: str, steps: int) -> float:
            nonlocal count
            count += 1
            here = folder / f"{count}"
            if name == "sanaflow":
                return cpu_seconds(our_command(model, pictures, folder / "store", here, steps, batch))
            return cpu_seconds([*dict(peer.split("=", 1) for peer in peers)[name].split(), str(steps), str(here)])

        names = ["sanaflow", *(peer.split("=", 1)[0] for peer in peers)]
        cpu_seconds(our_command(model, pictures, folder / "store", folder / "warm", 1, batch))
        found: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                found[name].append((run(name, LONG) - run(name, SHORT)) / (LONG - SHORT))
        ours = statistics.median(found["sanaflow"])
        for name, seconds in found.items():
            median = statistics.median(seconds)
            spread = ", ".join(f"{one:.3f}" for one in sorted(seconds))
            print(f"{name:<12} {median:.3f} CPU s a step ({spread}): {median / ours:.2f} times ours")


if __name__ == "__main__":
    main()
