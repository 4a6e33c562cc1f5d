"""What does a run cost the first time, again, and after one picture was added? And how much of it is ZenML's?

python -m benchmarks.reruns [--json] [--repeats N]

Each run is a process of its own, as `zenml pipeline run` is, on a fresh ZenML home with its SQLite store: 48 bundled
pictures, a small model of random weights, 50 training steps. 'Ours' is the time inside our step functions and
materializers and the imports they make; 'ZenML' is the rest: importing it, compiling, its store, the orchestrator.
Seconds are medians.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import yaml

from benchmarks._random_sana import write_random_sana

ROOT = Path(__file__).resolve().parent.parent
PICTURES = 48
KINDS = ("cold", "cached", "one picture added")


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--repeats", default=3, show_default=True, help="Fresh homes to measure on.")
@click.option("--child", hidden=True, type=click.Path(path_type=Path))
def main(as_json: bool, repeats: int, child: Path | None) -> None:
    """Measure and print."""
    if child:
        print(json.dumps(_run_here(child)))
        return
    measured = [_measure_once() for _ in range(repeats)]
    result = {kind: {name: median(m[kind][name] for m in measured) for name in measured[0][kind]} for kind in KINDS}
    if as_json:
        print(json.dumps({"benchmark": "reruns", "repeats": repeats, "seconds": result}))
        return
    print(f"{'run':<20}{'wall':>8}{'CPU':>8}{'ours':>8}{'ZenML':>8}   share of a cold run's wall time")
    for kind, row in result.items():
        share = row["wall"] / result["cold"]["wall"]
        print(
            f"{kind:<20}"
            + "".join(f"{row[name]:>8.1f}" for name in ("wall", "cpu", "ours", "zenml"))
            + f"{share:>8.0%}"
        )


def _measure_once() -> dict[str, dict[str, float]]:
    """The three kinds of runs, one after the other, on a fresh home."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundled = sorted((ROOT / "assets/pictures").glob("*.webp"))
        (folder / "pictures").mkdir()
        for picture in bundled[:PICTURES]:
            shutil.copy(picture, folder / "pictures")
        run = yaml.safe_load((ROOT / "configs/demo.yaml").read_text())
        model = write_random_sana(folder / "model")
        run["parameters"]["model"]["pretrained_model_name_or_path"] = str(model)
        pictures = {"instance_data_dir": str(folder / "pictures"), "resolution": 64, "repeats": 15}
        run["parameters"]["datasets"] = [{"id": "emoji", **pictures}]
        run["parameters"]["evaluation"] |= {"evaluation_prompts": None, "evaluation_prompts_limit": 16}
        run["parameters"]["training"] |= {"max_train_steps": 50, "lr_warmup_steps": 5}
        run["parameters"]["publishing"]["release_dir"] = str(folder / "release")
        (folder / "run.yaml").write_text(yaml.safe_dump(run))
        measured = {"cold": _run_in_process(folder), "cached": _run_in_process(folder)}
        shutil.copy(bundled[PICTURES], folder / "pictures")
        return measured | {"one picture added": _run_in_process(folder)}


def _run_in_process(folder: Path) -> dict[str, float]:
    """Wall and CPU seconds of a whole process, and what its run says of itself."""
    environment = {
        **os.environ,
        "ZENML_CONFIG_PATH": str(folder / "zenml"),
        "ZENML_LOCAL_STORES_PATH": str(folder / "stores"),
        "ZENML_ANALYTICS_OPT_IN": "false",
    }
    command = [sys.executable, "-m", "benchmarks.reruns", "--child", str(folder / "run.yaml")]
    before, began = os.times(), time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    wall, after = time.perf_counter() - began, os.times()
    if ended.returncode:
        raise click.ClickException(ended.stderr)
    ours = json.loads(ended.stdout.splitlines()[-1])["ours"]
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall": wall, "cpu": cpu, "ours": ours, "zenml": wall - ours}


def _run_here(run_yaml: Path) -> dict[str, float]:
    """Run the pipeline in this process and add up the time inside our own code."""
    from zenml.steps import BaseStep

    from materializers.files import FileMaterializer
    from pipelines.finetune import finetune

    seconds = [0.0]
    _add_up(BaseStep, "call_entrypoint", seconds)
    for materializer in FileMaterializer.__subclasses__():
        for name in ("save", "load", "save_visualizations", "extract_metadata", "compute_content_hash"):
            if name in vars(materializer):
                _add_up(materializer, name, seconds)
    finetune.with_options(config_path=str(run_yaml))()
    return {"ours": seconds[0]}


def _add_up(owner: type, name: str, seconds: list[float]) -> None:
    """Add the time that a method takes to `seconds[0]`."""
    method: Callable[..., Any] = getattr(owner, name)

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            seconds[0] += time.perf_counter() - began

    setattr(owner, name, timed)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.reruns")
