"""Everything at once through ZenML: an adapter, a moving average, held-out pictures, two processes."""

import json
import shutil

import pytest
from zenml.enums import ExecutionStatus

from pipelines.finetune import finetune
from sanaflow.errors import InputError
from tests.environment import PROJECT


@pytest.fixture
def held_out(tmp_path):
    folder = tmp_path / "held out"
    folder.mkdir()
    for name in ("umbrella", "penguin"):
        shutil.copy(PROJECT / "assets/pictures" / f"{name}.webp", folder)
    return {"id": "held-out", "dataset_type": "eval", "instance_data_dir": str(folder), "resolution": 64}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_lokr_is_trained_measured_drawn_scored_and_released(processes, write_run, pictures, held_out, tmp_path):
    path = write_run(
        datasets=[{"id": "set", "instance_data_dir": str(pictures), "resolution": 64}, held_out],
        training={"model_type": "lora", "use_ema": True, "num_processes": processes, "flow_schedule_shift": 4.0},
        validation={"user_prompt_library": {"panda": "panda"}, "validation_resolution": "64x64,96x64"},
    )
    finished = finetune.with_options(config_path=str(path))()
    assert finished.status == ExecutionStatus.COMPLETED
    outputs = {name: made[0] for step in finished.steps.values() for name, made in step.outputs.items()}
    tuned, log = outputs["tuned_model"].load(), outputs["training_log"].load()
    assert (tuned.kind, tuned.ema) == ("lycoris", True)
    assert log.evaluations.groupby("weights")["step"].unique().map(list).to_dict() == {"ema": [0, 6], "raw": [0, 6]}
    assert {v.uri.rsplit("/", 1)[-1] for v in outputs["training_log"].visualizations} == {
        *("training.png", "noise_levels.png", "evaluation.png"),
    }
    gallery = outputs["validation_gallery"].load()
    assert set(gallery.rows["label"]) == {f"step {step}{whose}" for step in (0, 3, 6) for whose in ("", ", ema")}
    assert set(zip(gallery.rows["width"], gallery.rows["height"], strict=True)) == {(64, 64), (96, 64)}
    scores = outputs["clip_scores"].load().scores
    assert scores[["base", "tuned", "raw"]].notna().all(axis=None)
    released = json.loads((tmp_path / "release/manifest.json").read_text())["files"]
    assert {"pytorch_lora_weights.safetensors", "raw/pytorch_lora_weights.safetensors"} <= set(released)
    metadata = finished.steps["train_sana"].run_metadata
    assert metadata["steps"] == 6 and metadata["loss"] > 0


def test_a_mistake_that_a_process_finds_is_one_line(write_run):
    training = {"num_processes": 2, "model_type": "lora", "lycoris_config": {"algo": "boft"}}
    with pytest.raises(InputError, match="'boft' doesn't work on Sana's layers"):
        finetune.with_options(config_path=str(write_run(training=training)))()
