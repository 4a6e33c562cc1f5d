"""What a run is expected to take."""

import subprocess
import sys

import pytest
import yaml

from benchmarks.fit import CONFIG, measure
from sanaflow.config import TrainingSettings
from sanaflow.training.fit import ways_to_take_less
from sanaflow.training.memory import estimate
from tests.environment import PROJECT, SMALL_SANA

SANA_1600M = {
    **{"in_channels": 32, "out_channels": 32, "num_layers": 20, "patch_size": 1, "sample_size": 32, "mlp_ratio": 2.5},
    **{"num_attention_heads": 70, "attention_head_dim": 32, "num_cross_attention_heads": 20},
    **{"cross_attention_head_dim": 112, "cross_attention_dim": 2240, "caption_channels": 2304},
}
SIZE = {"latent_size": (32, 32), "text_tokens": 300}


def total(**settings) -> int:
    return estimate(SANA_1600M, TrainingSettings(**settings), **SIZE).total


@pytest.mark.parametrize("case", ["all weights, recomputed", "LoRA, recomputed"])
def test_the_estimate_is_what_a_process_really_takes(case):
    expected, taken = measure(case)
    assert expected == pytest.approx(taken, rel=0.1)


def test_the_real_models_weights_gradients_and_moments_are_counted():
    found = estimate(SANA_1600M, TrainingSettings(), **SIZE)
    assert found.weights == found.gradients == 4 * 1_604_462_752
    assert found.optimizer == pytest.approx(2 * found.weights, rel=1e-3)


def test_each_saving_saves():
    plain = total()
    assert total(gradient_checkpointing=True) < 0.8 * plain
    between = total(gradient_checkpointing=True, gradient_checkpointing_interval=2)
    assert total(gradient_checkpointing=True) < between < plain
    assert plain - total(optimizer="bnb-adamw8bit") == pytest.approx(6 * 1_604_462_752, rel=0.05)
    assert total(use_ema=True) - plain == 4 * 1_604_462_752 and total(use_ema=True, ema_device="cpu") == plain
    lora = {"model_type": "lora", "lora_type": "standard", "gradient_checkpointing": True, "train_batch_size": 1}
    in_bf16 = total(**lora, base_model_default_dtype="bf16")
    assert in_bf16 < 0.6 * total(**lora)
    assert total(**lora, base_model_default_dtype="bf16", base_model_precision="nf4-bnb") < in_bf16
    assert total(num_processes=4, fsdp_enable=True) < plain < total(num_processes=4)


def test_ways_are_possible_settings_that_take_less_and_less():
    ways = list(ways_to_take_less(TrainingSettings(use_ema=True)))
    sizes = [estimate(CONFIG, settings, **SIZE).total for _, settings in ways]
    assert len(ways) == 8 and sizes[-1] < 0.1 * estimate(CONFIG, TrainingSettings(use_ema=True), **SIZE).total
    assert all(sizes[i] >= sizes[i + 1] for i in range(3)), "before the kind of training changes"


def run(tmp_path, *arguments, **training):
    parameters = {
        "model": {"pretrained_model_name_or_path": str(SMALL_SANA)},
        "datasets": [{"id": "a", "instance_data_dir": "pictures", "resolution": 512}],
        "training": training,
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"parameters": parameters}))
    command = [sys.executable, "-m", "sanaflow", "fit", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, timeout=120)


def test_the_command_says_whether_it_fits_before_any_picture_is_looked_at(tmp_path):
    fits = run(tmp_path, "--memory", "24")
    assert fits.returncode == 0 and "it fits into 24 GiB" in fits.stdout
    tight = run(tmp_path, "--memory", "1.5")
    assert tight.returncode == 1 and "it does not fit into 1.5 GiB" in tight.stdout
    assert "fits: gradient_checkpointing: true" in tight.stdout
    assert "Traceback" not in tight.stderr
    wrong = run(tmp_path, "--memory", "0")
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr
