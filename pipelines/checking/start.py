"""The cheap part of the check, which every run begins with: no network, no PyTorch, no picture opened."""

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import get_token

from pipelines.checking.disk import look_at_full_disks, places
from pipelines.checking.finding import Finding, Level, ask, attempt
from pipelines.checking.hub import pushes_to
from pipelines.checking.settings import see_release_folder_is_ours
from pipelines.checking.stack import refusals
from pipelines.checking.whereabouts import whereabouts
from sanaflow.config import ModelSettings, RunSettings
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.decode import ENDINGS
from sanaflow.images.scan import scan_datasets
from sanaflow.images.sources.folder import open_folder
from sanaflow.images.sources.urls import open_csv
from sanaflow.model.reference import resolve_model
from sanaflow.paths import expanded
from sanaflow.publishing.hub import check_write_access


def check_at_start(run: RunSettings, content: Mapping[str, Any], *, publishes: bool) -> None:
    """Refuse a run that is bound to fail, a line a reason; of what other machines will use, only warn.

    Args:
        run: Its settings.
        content: The YAML that they are from.
        publishes: Whether its pipeline releases what it makes.

    Raises:
        InputError: It is bound to fail.
    """
    findings = list(_first_looks(run, content, publishes=publishes))
    for finding in findings:
        if finding.level == "warning":
            print(f"{finding.where}: {finding.text}")
    if errors := [finding.text for finding in findings if finding.level == "error"]:
        raise InputError("\n".join(errors))


def _first_looks(run: RunSettings, content: Mapping[str, Any], *, publishes: bool) -> Iterator[Finding]:
    place = whereabouts(content)
    for finding in refusals(place):
        yield replace(finding, level="warning")  # a store on this machine may be a folder that all machines mount
    if place.is_here():
        yield from attempt("disk", lambda: look_at_full_disks(places(run.publishing)))
    here: Level = "error" if place.is_here("download_dataset") else "warning"
    for dataset in run.datasets:
        yield from ask(f"datasets.{dataset.id}", partial(_see_it_is_there, dataset), level=here)
    here = "error" if place.is_here("resolve_model") else "warning"
    yield from ask("model", lambda: _see_it_is_a_model(run.model), level=here)
    if publishes and place.is_here("push_to_hub"):
        yield from ask("publishing.release_dir", lambda: see_release_folder_is_ours(run))
        repo = pushes_to(run.publishing)
        if repo and not place.brings_secrets and not get_token():
            yield from ask("publishing.hub_model_id", lambda: check_write_access(repo))


def _see_it_is_there(dataset: DatasetSettings) -> None:
    """Look for a set's table or folder; what is wrong, the code says that the run uses."""
    if dataset.disabled or dataset.role == "none":
        return
    if dataset.type == "csv" and not os.access(expanded(str(dataset.csv_file)), os.R_OK):
        open_csv(dataset)
    if dataset.type == "local" and not has_a_picture(dataset):
        with redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as scratch:
            scan_datasets([dataset], folder=Path(scratch))


def has_a_picture(dataset: DatasetSettings) -> bool:
    """Whether its folder holds a file of a picture's name; looks no further than the first."""
    for _, _, files in os.walk(expanded(str(dataset.instance_data_dir))):
        if any(Path(file).suffix.lower() in ENDINGS and not file.startswith(".") for file in files):
            return True
    return any(entry.is_picture for entry in open_folder(dataset).entries)  # behind links


def _see_it_is_a_model(model: ModelSettings) -> None:
    """See that it is a folder with an index, or something that the hub can be asked for."""
    name = model.pretrained_model_name_or_path
    folder = expanded(name)
    is_hub_id = name.count("/") == 1 and not name.startswith((".", "/", "~")) and not folder.is_dir()
    is_pipeline = (folder / "model_index.json").is_file() and not model.revision
    if not is_hub_id and not is_pipeline:
        resolve_model(model)
