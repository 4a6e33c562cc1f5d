"""Train a model version again from what is known of it, and compare the weights."""

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch
import yaml
from safetensors import safe_open
from zenml.client import Client
from zenml.models import PipelineRunResponse

from pipelines.lineage.checkout import run_at
from pipelines.lineage.what_changed import what_changed
from pipelines.train_again import SECTIONS, train_again
from sanaflow.errors import InputError
from sanaflow.lineage.records import Record
from sanaflow.model.tuned import SanaModel
from steps.lineage.reader import read_record

ON_OPERATORS = ("train_sana", "encode_latents", "encode_captions")
UNEXPLAINED = (
    "nothing that is recorded has changed: was it another device or number of threads? A CPU gives the same weights "
    "again; a GPU adds up in an order of its own"
)


@click.command
@click.argument("version")
@click.option("--dry-run", is_flag=True, help="Only say what is different from then.")
@click.option("--checkout", is_flag=True, help="With the code of then, checked out beside this one.")
def rebuild(version: str, dry_run: bool, checkout: bool) -> None:
    """Train a model VERSION again ('sana@3') from what is known of it, and compare the weights.

    Makes no model version, no scores and no release. Ends with 0 if the weights are the same, else with 1, saying what
    has changed since.
    """
    record = read_record(version)
    if not (record.weights and record.trained_in):
        raise InputError(f"{record.name} has no weights to compare with: its run failed, or trained nothing")
    if checkout:
        raise SystemExit(run_at(record.commit, "rebuild", record.name, *(["--dry-run"] if dry_run else [])))
    try:
        then = Client().get_pipeline_run(record.trained_in)
    except KeyError:
        raise InputError(f"the run that trained {record.name} was deleted: its settings are unknown") from None
    changed = list(what_changed(record, then))
    print("\n".join(changed or ["code, packages, base model and pictures are as they were"]))
    if dry_run:
        return
    now = run_again(record, then)
    tuned: SanaModel = now.steps["train_sana"].outputs["tuned_model"][0].load()
    if tuned.digest() == record.weights:
        print(f"the same weights: {tuned.digest()}")
        return
    model, _, name = record.name.rpartition("@")
    artifact = Client().get_model_version(model, name).get_artifact("tuned_model")
    apart = largest_difference(artifact.load().folder, tuned.folder) if artifact else None
    print(f"other weights: {record.weights} then, {tuned.digest()} now")
    print("of other shapes or names" if apart is None else f"the largest difference of any weight: {apart:.3g}")
    for made, step in (("latents", "merge_latents"), ("captions", "merge_captions")):
        [cache] = next(iter(now.steps[step].outputs.values()))
        if cache.content_hash != record.data.get(made):
            changed.append(f"{made}: {record.data.get(made)} then, {cache.content_hash} now")
    print("\n".join(["what has changed:", *changed] if changed else [UNEXPLAINED]))
    raise SystemExit(1)


def run_again(record: Record, then: PipelineRunResponse) -> PipelineRunResponse:
    """Train with the settings of a run, on the step operators of then, to the end.

    Raises:
        InputError: The new run failed on a stack that doesn't wait; on others it is the step's own error.
    """
    steps: dict[str, Any] = {}
    for name in ON_OPERATORS:
        if name in then.steps and (operator := then.steps[name].config.step_operator):
            steps[name] = {"step_operator": operator}
    parameters = {name: said for name, said in (then.config.parameters or {}).items() if name in SECTIONS}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "run.yaml"
        path.write_text(yaml.safe_dump({"parameters": parameters, **({"steps": steps} if steps else {})}))
        run: Any = train_again.with_options(config_path=str(path))(start=record.start)
    while not run.status.is_finished:  # on a stack that doesn't wait
        time.sleep(10)
        run = Client().get_pipeline_run(run.id)
    if not run.status.is_successful:
        raise InputError(f"the run '{run.name}' that trains {record.name} again failed: look at its logs")
    return run


def largest_difference(first: Path, second: Path) -> float | None:
    """Of any weight of two models' folders; None if they don't hold weights of the same names and shapes."""
    files = [{path.relative_to(folder) for path in folder.rglob("*.safetensors")} for folder in (first, second)]
    if files[0] != files[1]:
        return None
    largest = 0.0
    for file in files[0]:
        with safe_open(first / file, "pt") as one, safe_open(second / file, "pt") as two:
            if set(one.keys()) != set(two.keys()):
                return None
            for name in one.keys():  # noqa: SIM118 - it is no mapping
                a, b = one.get_tensor(name).to(torch.float64), two.get_tensor(name).to(torch.float64)
                if a.shape != b.shape:
                    return None
                largest = max(largest, float((a - b).abs().max())) if a.numel() else largest
    return largest
