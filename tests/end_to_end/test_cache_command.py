"""`python -m sanaflow cache` on a real ZenML store."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from click.testing import CliRunner
from zenml.client import Client

from materializers.shards import shard_store
from pipelines.cache import cache
from pipelines.prepare import prepare
from sanaflow.cache.folder import FolderStore
from tests.environment import PROJECT


def call(*arguments):
    ended = CliRunner().invoke(cache, [str(argument) for argument in arguments])
    assert not ended.exception or isinstance(ended.exception, SystemExit), ended.exception
    return ended.output, ended.exit_code


@pytest.fixture
def prepared(write_run):
    """A run's caches in a store that holds nothing else."""
    for kind in ("latents", "captions"):
        shutil.rmtree(shard_store(kind).folder)
    return prepare.with_options(config_path=str(write_run()))()


def test_list_tells_what_each_data_set_takes(prepared):
    output, code = call("list")
    assert code == 0
    lines = [line.split() for line in output.splitlines()]
    assert [line[-3:-1] for line in lines if line[-3:-2] == ["set"]] == [["set", "5"], ["set", "5"]]
    assert any(line[-3:-1] == ["(prompts)", "1"] for line in lines), "the empty prompt"
    assert "latents: " in output and "MiB" in output


def test_verify_puts_damaged_shards_aside_and_the_next_run_encodes_them_anew(prepared, write_run):
    store = shard_store("latents")
    output, code = call("verify")
    assert code == 0
    assert f"latents: {len(store.names())} shards verified" in output
    name = store.names()[0]
    held = len(store.contents(name).keys)
    with (store.folder / name).open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x77")
    output, code = call("verify")
    assert code == 1
    assert f"latents: {name} is damaged and was put aside" in output
    again = prepare.with_options(config_path=str(write_run()))()
    assert again.steps["merge_latents"].outputs["latent_cache"][0].load().encoded == held
    assert call("verify")[1] == 0


def test_prune_removes_what_no_artifact_version_refers_to_and_only_if_asked(prepared):
    store = shard_store("latents")
    kept = set(store.names())
    store.write({"orphan": torch.zeros(9)}, lambda ones: {"latents": torch.stack(ones)}, model="m")
    [orphan] = set(store.names()) - kept
    os.utime(store.folder / orphan, (time.time() - 48 * 3600,) * 2)
    output, _ = call("prune")
    assert "latents: 1 files, 0.0 MiB would go: add --delete" in output
    assert orphan in store.names()
    before = store.state()
    output, _ = call("prune", "--delete")
    assert "latents: 1 files, 0.0 MiB removed" in output
    assert set(store.names()) == kept
    assert store.state() != before, "a run that counted on it looks again"
    project = Client().create_project("another", "")
    Client().set_active_project(project.id)
    try:
        assert "latents: 0 files" in call("prune", "--min-age-hours", 0)[0], "what other projects refer to stays"
    finally:
        Client().set_active_project("default")
        Client().delete_project(project.id)

    for run in Client().list_pipeline_runs(size=1000).items:
        Client().delete_pipeline_run(run.id)
    for version in Client().list_artifact_versions(artifact="latent_cache", size=1000).items:
        Client().delete_artifact_version(version.id)
    assert "captions: 0 files" in call("prune", "--delete", "--min-age-hours", 0)[0]
    assert store.names() == []
    assert shard_store("captions").names() != []


def test_a_folder_of_a_run_without_zenml_is_listed_and_verified(tmp_path):
    output, code = call("list", "--store", tmp_path)
    assert code == 1 and "has no folder 'latents'" in output
    for kind in ("latents", "captions"):
        FolderStore(tmp_path / kind)
    assert call("list", "--store", tmp_path)[1] == call("verify", "--store", tmp_path)[1] == 0


def test_the_command_is_found_from_the_command_line():
    ended = subprocess.run(
        [sys.executable, "-m", "sanaflow", "cache", "prune", "--help"], capture_output=True, text=True, cwd=PROJECT
    )
    assert ended.returncode == 0
    assert "--delete" in ended.stdout and "--min-age-hours" in ended.stdout


def test_list_for_programs(prepared):
    output, code = call("list", "--json")
    found = json.loads(output)
    assert code == 0 and list(found) == ["latents", "captions"]
    [of_set] = [row for row in found["latents"]["entries"] if row["dataset"] == "set"]
    assert of_set["entries"] == 5 and 0 < of_set["bytes"] <= found["latents"]["bytes"]
