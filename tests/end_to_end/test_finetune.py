"""The main job through ZenML with its SQLite store: what is made, and what is made again when something changes."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from diffusers import SanaPipeline
from zenml.enums import ExecutionStatus

from materializers.shards import shard_store
from pipelines.finetune import finetune
from pipelines.prepare import prepare
from tests.environment import PROJECT

ALWAYS = {
    *("check_hub_access", "resolve_model", "download_dataset"),
    *("find_champion", "decide_promotion", "push_to_hub", "draw_lineage", "end_run"),
}
LATENTS = {"look_up_latents", "encode_latents", "merge_latents"}
CAPTIONS = {"look_up_captions", "encode_captions", "merge_captions"}
JUDGED = {"score_clip", "measure_eval_loss"}
CACHEABLE = {"assign_buckets", *LATENTS, *CAPTIONS, "train_sana", *JUDGED}


def run(path, pipeline=finetune):
    finished = pipeline.with_options(config_path=str(path))()
    assert finished.status == ExecutionStatus.COMPLETED
    return finished


def ran(finished) -> set[str]:
    """Steps that were not served from the cache."""
    return {name for name, step in finished.steps.items() if step.status == ExecutionStatus.COMPLETED}


def artifact(finished, step, name):
    return finished.steps[step].outputs[name][0]


def test_the_whole_chain_makes_every_artifact_and_a_release_that_draws(write_run, pictures, tmp_path):
    for kind in ("latents", "captions"):  # as other tests left them
        shutil.rmtree(shard_store(kind).folder)
    not_in_another_test = {"id": "set", "instance_data_dir": str(pictures), "resolution": 64, "repeats": 1}
    finished = run(write_run(datasets=[not_in_another_test]))
    assert ran(finished) == ALWAYS | CACHEABLE
    made = {name for step in finished.steps.values() for name in step.outputs}
    assert made == {
        *("base_model", "image_table", "bucket_plan", "latent_cache", "caption_cache", "tuned_model"),
        *("training_log", "validation_gallery", "clip_scores", "clip_gallery", "hub_release"),
        *("champion", "held_out_loss", "promotion_decision", "lineage"),
        *("latent_work", "encoded_latents", "caption_work", "encoded_captions"),
    }
    for step in finished.steps.values():
        for name, [output] in step.outputs.items():
            assert output.visualizations, f"{name} is not drawn"
            loaded = output.load()
            assert type(loaded).__name__ == output.data_type.attribute

    table = artifact(finished, "download_dataset", "image_table").load()
    assert sorted(table.pictures["captions"].str[0]) == ["banana", "guitar", "panda", "red apple", "rocket"]
    scores = artifact(finished, "score_clip", "clip_scores").load()
    assert scores.scores[["base", "tuned"]].notna().all(axis=None)
    assert len(scores.scores) == 5
    gallery = artifact(finished, "train_sana", "validation_gallery").load()
    assert gallery.rows["label"].tolist() == ["step 0", "step 3", "step 6"]
    tuned = artifact(finished, "train_sana", "tuned_model").load()
    pipeline = SanaPipeline.from_pretrained(tmp_path / "release")
    assert pipeline("a red apple", height=64, width=64, num_inference_steps=2, use_resolution_binning=False).images
    assert (tmp_path / "release/transformer/diffusion_pytorch_model.safetensors").read_bytes() == (
        tuned.folder / "diffusion_pytorch_model.safetensors"
    ).read_bytes()


def test_only_what_a_change_touches_is_made_again(write_run, pictures):
    first = run(write_run())
    assert ran(run(write_run())) == ALWAYS, "an identical run encodes and trains nothing"

    moved = pictures.rename(pictures.with_name("moved"))
    elsewhere = [{"id": "set", "instance_data_dir": str(moved), "resolution": 64}]
    assert ran(run(write_run(datasets=elsewhere))) == ALWAYS | {"assign_buckets"}, (
        "moved pictures are the same pictures"
    )
    moved.rename(pictures)

    retrained = {"train_sana", *JUDGED}
    assert ran(run(write_run(training={"learning_rate": 2.0e-3}))) == ALWAYS | retrained
    assert ran(run(write_run(evaluation={"evaluation_prompts": ["a pear"]}))) == ALWAYS | CAPTIONS | {"score_clip"}, (
        "another evaluation prompt is encoded and scored, and nothing is trained"
    )

    shutil.copy(PROJECT / "assets/pictures/umbrella.webp", pictures)
    grown = run(write_run())
    assert ran(grown) == ALWAYS | CACHEABLE
    assert artifact(grown, "merge_latents", "latent_cache").load().encoded == 1
    assert artifact(grown, "merge_captions", "caption_cache").load().encoded == 1
    before = artifact(first, "train_sana", "tuned_model").load()
    after = artifact(grown, "train_sana", "tuned_model").load()
    assert before.digest() != after.digest()


def test_prepare_ends_at_the_caches_and_finetune_goes_on_from_them(write_run):
    path = write_run(training={"seed": 4})
    prepared = run(path, prepare)
    assert set(prepared.steps) == {"resolve_model", "download_dataset", "assign_buckets", *LATENTS, *CAPTIONS}
    assert ran(run(path)) & CACHEABLE == {"train_sana", *JUDGED}


@pytest.fixture
def project_copy(tmp_path):
    """The project with a ZenML home of its own, to change its code and to kill it."""
    copy = tmp_path / "project"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns(".*", "tests", "release"))
    environment = {
        **os.environ,
        "ZENML_CONFIG_PATH": str(tmp_path / "zenml"),
        "ZENML_LOCAL_STORES_PATH": str(tmp_path / "stores"),
        "PYTHONPATH": str(copy),
    }

    def command(pipeline, path):
        return {
            "args": [sys.executable, "-m", f"pipelines.{pipeline}", "-c", str(path)],
            "cwd": copy,
            "env": environment,
        }

    return copy, command


def output_of(command) -> str:
    finished = subprocess.run(**command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout + finished.stderr


def test_changed_code_is_never_served_from_the_cache(project_copy, write_run):
    copy, command = project_copy
    path = write_run()
    output_of(command("prepare", path))
    again = output_of(command("prepare", path))
    for step in ("assign_buckets", *LATENTS, *CAPTIONS):
        assert f"Using cached version of step `{step}`" in again
    with (copy / "sanaflow/cache/latents.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    changed = output_of(command("prepare", path))
    assert "Using cached version of step `encode_latents`" not in changed
    assert "Using cached version of step `encode_captions`" in changed
    assert "0 of 5 latents reused, 5 to encode" in changed, "nor from the store"


def test_a_run_killed_while_training_goes_on_where_it_was(project_copy, write_run, tmp_path):
    _, command = project_copy
    path = write_run(training={"max_train_steps": 300, "checkpointing_steps": 20})
    killed = subprocess.Popen(**command("finetune", path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 240
    while not list((tmp_path / "stores").glob("*/sanaflow/training/*/checkpoints/step-*")) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert list((tmp_path / "stores").glob("*/sanaflow/training/*/checkpoints/step-*"))
    resumed = output_of(command("finetune", path))
    for step in ("assign_buckets", *LATENTS, *CAPTIONS):
        assert f"Using cached version of step `{step}`" in resumed
    assert "resuming after step" in resumed
    assert (tmp_path / "release" / "model_index.json").is_file()
