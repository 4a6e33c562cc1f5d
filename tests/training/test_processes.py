"""Several processes on one machine, by gloo on the CPU: the same result as one."""

import os
import signal
import time

import psutil
import pytest
import torch

from tests.training.runs import start, weights_of, write_request

LAUNCH = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
LAUNCH += ("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")
ENVIRONMENT = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
KINDS = {
    "full": {"use_ema": True},
    "lokr": {"model_type": "lora"},
    "sharded": {"fsdp_enable": True, "use_ema": True},
    "sharded, in bf16": {"fsdp_enable": True, "mixed_precision": "bf16"},
    "sharded, compiled": {"fsdp_enable": True, "torch_compile": True},
    "dylora": {"model_type": "lora", "lycoris_config": {"algo": "dylora", "linear_dim": 4, "block_size": 2}},
    "sharded, gathered once": {"fsdp_enable": True, "fsdp_reshard_after_forward": False},
}


def one_process(run, **settings):
    """Twice the accumulation stands for two processes."""
    alone = {name: value for name, value in settings.items() if not name.startswith("fsdp")}
    return run("alone", **{"gradient_accumulation_steps": 4, **alone})


def tuned_in(folder):
    [models] = (folder / "models").iterdir()
    return models


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_give_the_weights_of_one_at_the_same_global_batch(kind, run, caches, small_sana, tmp_path):
    settings = {"max_train_steps": 4, **KINDS[kind]}
    alone, _ = one_process(run, **settings)
    both = {**settings, "gradient_accumulation_steps": 2, "num_processes": 2}
    folder = write_request(caches, small_sana, tmp_path / "two", both)
    said, _ = start(folder, *LAUNCH, env=ENVIRONMENT).communicate(timeout=300)
    assert "RESULT" in said, said[-3000:]
    from safetensors.torch import load_file

    far = 5e-3 if "bf16" in kind else 5e-5
    for version, expected in {name: weights_of(alone, name) for name in alone.versions()}.items():
        place = tuned_in(folder) / alone.versions()[version].relative_to(alone.folder)
        [file] = place.glob("*.safetensors")
        found = load_file(file)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=far, atol=far, msg=f"{version} {name}")


def test_a_sharded_run_that_is_killed_goes_on_to_the_very_same_weights(caches, small_sana, tmp_path):
    settings = {"max_train_steps": 14, "num_processes": 2, "fsdp_enable": True, "use_ema": True}
    straight = write_request(caches, small_sana, tmp_path / "straight", settings)
    said, _ = start(straight, *LAUNCH, env=ENVIRONMENT).communicate(timeout=300)
    folder = write_request(caches, small_sana, tmp_path / "killed", settings)
    process = start(folder, *LAUNCH, env=ENVIRONMENT)
    until = time.monotonic() + 120
    while not (folder / "run/checkpoints/step-00000004").exists() and time.monotonic() < until:
        time.sleep(0.005)
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.communicate()
    again, _ = start(folder, *LAUNCH, env=ENVIRONMENT).communicate(timeout=300)
    result = [line for line in said.splitlines() if line.startswith("RESULT")]
    assert "resuming after step" in again
    assert result and [line for line in again.splitlines() if line.startswith("RESULT")] == result


def test_sigterm_to_the_launcher_leaves_a_checkpoint(caches, small_sana, tmp_path):
    settings = {"max_train_steps": 100_000, "num_processes": 2, "checkpointing_steps": 1_000_000}
    folder = write_request(caches, small_sana, tmp_path / "two", settings)
    process = start(folder, *LAUNCH, env=ENVIRONMENT)
    until = time.monotonic() + 120
    while not (folder / "run/checkpoints/step-00000000").exists() and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert "SIGTERM ended the training after step" in said
    assert len(list((folder / "run/checkpoints").glob("step-*"))) == 2


def test_the_number_of_processes_is_the_settings(caches, small_sana, tmp_path):
    folder = write_request(caches, small_sana, tmp_path / "two", {})
    said, _ = start(folder, *LAUNCH, env=ENVIRONMENT).communicate(timeout=120)
    assert "training.num_processes is 1, but 2 are running" in said
