"""A run that is cut short, by whatever, ends as if it had not been."""

import fcntl
import os
import shutil
import signal
import time

import pytest
import torch

from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.model.tunable import load_tunable
from sanaflow.training.batches import Batches
from sanaflow.training.ema import make_ema, update
from sanaflow.training.stop import StoppedError
from tests.training.runs import CPU, short, start, train_in_place, weights_of, write_request

LOKR = {"model_type": "lora", "lycoris_config": {"algo": "lokr", "linear_dim": 4, "factor": 4, "rank_dropout": 0.2}}
LORA = {"model_type": "lora", "lora_type": "standard", "lora_rank": 4, "lora_dropout": 0.1}
KINDS = {
    "full": {},
    "full with a moving average": {"use_ema": True, "ema_update_interval": 2},
    "lokr": {**LOKR, "use_ema": True},
    "lora": {**LORA, "optimizer": "optimi-lion"},
    "8-bit": {**LORA, "optimizer": "bnb-lion8bit-paged"},
    "schedule-free": {**LOKR, "optimizer": "adamw_schedulefree", "lr_scheduler": "constant", "lr_warmup_steps": 0},
    "soap": {**LORA, "optimizer": "soap"},
}
CURVES = ["step", "loss", "learning_rate", "grad_norm"]


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_ends_with_the_very_same_weights_and_log(kind, run):
    def stop(transformer, step, weights):
        if step == 5:
            raise Interrupted
        return {}

    validation = ValidationSettings(validation_prompt="a", validation_steps=1)
    straight, log = run("straight", **KINDS[kind], options={"validation": validation, "draw": lambda *_: {}})
    with pytest.raises(Interrupted):
        run("stopped", **KINDS[kind], options={"validation": validation, "draw": stop})
    resumed, resumed_log = run("stopped", **KINDS[kind], options={"validation": validation, "draw": lambda *_: {}})
    assert resumed.digest() == straight.digest()
    assert resumed_log.steps[CURVES].equals(log.steps[CURVES])


@pytest.mark.parametrize("kind", ["full with a moving average", "lokr", "lora"])
def test_a_run_killed_at_any_moment_goes_on_to_the_same_weights(kind, run, caches, small_sana, tmp_path):
    settings = KINDS[kind] | {"max_train_steps": 40}
    straight, _ = run("straight", **settings)
    folder = write_request(caches, small_sana, tmp_path / "killed", settings)
    checkpoints = folder / "run/checkpoints"
    for wanted in (6, 18):
        process = start(folder)
        until = time.monotonic() + 120
        while not list(checkpoints.glob(f"step-{wanted:08d}")) and time.monotonic() < until:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert any(checkpoints.glob("step-*")), "killed before the end, with a checkpoint on disk"
    said, _ = start(folder).communicate(timeout=240)
    assert "resuming after step" in said
    assert said.splitlines()[-1] == f"RESULT {straight.digest()}"
    assert not checkpoints.exists()


def test_sigterm_writes_a_checkpoint_and_the_next_start_goes_on_from_it(run, caches, small_sana, tmp_path):
    settings = {"max_train_steps": 300, "checkpointing_steps": 1000}
    straight, _ = run("straight", **settings)
    folder = write_request(caches, small_sana, tmp_path / "stopped", settings)
    process = start(folder)
    while not (folder / "run/checkpoints/step-00000000").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    [_, newest] = sorted((folder / "run/checkpoints").iterdir())
    assert process.returncode != 0
    assert f"SIGTERM ended the training after step {int(newest.name[5:])} of 300: run it again to go on" in said
    assert start(folder).communicate(timeout=240)[0].splitlines()[-1] == f"RESULT {straight.digest()}"


def test_sigterm_is_an_error_of_its_own_and_the_handler_before_is_back(run, monkeypatch):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("mine"))
    try:
        validation = ValidationSettings(validation_prompt="a", validation_steps=3)
        draw = lambda transformer, step, weights: (step == 3 and os.kill(os.getpid(), signal.SIGTERM)) or {}  # noqa: E731
        with pytest.raises(StoppedError, match="after step 4 of 6") as caught:
            run(options={"validation": validation, "draw": draw})
        assert caught.value.exit_code == 143
        assert not heard
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == ["mine"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_damaged_checkpoint_is_passed_over(caches, small_sana, tmp_path, capsys):
    tunable, batches = load_tunable(small_sana, short(), CPU), Batches(*caches, short())
    train_in_place(tunable, batches, short(), tmp_path)
    folder = tmp_path / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000004", "step-00000006"]  # the last two are kept
    newest = folder / "step-00000006" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    again = load_tunable(small_sana, short(), CPU)
    train_in_place(again, batches, short(), tmp_path)
    said = capsys.readouterr().out
    assert "step-00000006 is damaged (the checksum of optimizer.safetensors doesn't match): it is put aside" in said
    for one, other in zip(tunable.weights().values(), again.weights().values(), strict=True):
        assert torch.equal(one, other)


def test_where_all_checkpoints_are_damaged_new_ones_are_kept(caches, small_sana, tmp_path):
    batches = Batches(*caches, short())
    train_in_place(load_tunable(small_sana, short(), CPU), batches, short(), tmp_path)
    for file in (tmp_path / "checkpoints").glob("*/state.json"):
        file.write_text("{")
    again = load_tunable(small_sana, short(), CPU)
    train_in_place(again, batches, short(max_train_steps=3), tmp_path)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))
    assert kept == ["step-00000000", "step-00000002"], "though damaged ones of later steps were there"


def test_a_damaged_model_is_put_right_by_training_again(run):
    tuned, _ = run()
    next(tuned.folder.glob("*.safetensors")).write_bytes(b"")
    again, _ = run()
    assert again.digest() == tuned.digest()
    again.verify()


def test_the_average_of_weights_in_bf16_moves(run):
    settings = {"base_model_default_dtype": "bf16", "mixed_precision": "bf16", "optimizer": "optimi-adamw"}
    tuned, _ = run(use_ema=True, ema_decay=0.999, **settings)
    raw, ema = weights_of(tuned, "raw"), weights_of(tuned)
    assert any(not torch.equal(raw[name], ema[name]) for name in raw)
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    chosen = TrainingSettings(use_ema=True, ema_decay=0.995)
    ema = make_ema([weight], chosen)
    for step in range(2000):
        weight.data.fill_(1.0 if step < 1000 else 1.25)
        update(ema, [weight], chosen)
    assert ema.shadow_params[0].item() == pytest.approx(1.25, abs=0.01)


def test_two_processes_do_not_train_the_same_run_at_once(run, tmp_path):
    (tmp_path / "one/run").mkdir(parents=True)
    with (tmp_path / "one/run/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is training this very run"):
            run("one")
    run("one")


def stopped_run(run, folder, **settings):
    """A run that is led to stop after step 4, with its checkpoint."""
    validation = ValidationSettings(validation_prompt="a", validation_steps=5)

    def stop(transformer, step, weights):
        if step == 5:
            raise Interrupted
        return {}

    with pytest.raises(Interrupted):
        run(folder, **settings, options={"validation": validation, "draw": stop})


def test_a_run_may_go_on_from_another_ones_checkpoint_with_what_changed_said(run, tmp_path, capsys):
    stopped_run(run, "before", **LORA)
    source = tmp_path / "before/run/checkpoints/step-00000004"
    _, log = run("after", **LORA, max_train_steps=8, seed=3, resume_from_checkpoint=str(source))
    said = capsys.readouterr().out
    assert "max_train_steps was 6 and is 8: it holds from here on" in said
    assert "seed was 42 and is 3: samples come in another order from here on" in said
    assert "resuming after step 4" in said
    assert log.steps["step"].tolist() == list(range(1, 9))


def test_a_changed_learning_rate_holds_from_there_on_whatever_the_folders_name(run, tmp_path):
    constant = {**LORA, "lr_scheduler": "constant", "lr_warmup_steps": 0}
    stopped_run(run, "before", **constant)
    source = (tmp_path / "before/run/checkpoints/step-00000004").rename(tmp_path / "the best one")
    _, log = run(
        "after", **constant | {"learning_rate": 2e-5, "adam_weight_decay": 0.5, "resume_from_checkpoint": str(source)}
    )
    assert log.steps["learning_rate"].tolist() == pytest.approx([1e-3] * 4 + [2e-5] * 2)


def test_a_schedule_goes_on_at_its_own_step_with_the_new_rate(run, tmp_path):
    stopped_run(run, "before", **LORA)
    source = tmp_path / "before/run/checkpoints/step-00000004"
    _, straight = run("straight", **LORA, learning_rate=5e-4)
    _, log = run("after", **LORA, learning_rate=5e-4, resume_from_checkpoint=str(source))
    assert log.steps["learning_rate"].tolist()[4:] == pytest.approx(straight.steps["learning_rate"].tolist()[4:])


def test_a_run_that_ends_before_the_checkpoint_is_refused(run, tmp_path):
    stopped_run(run, "before", **LORA)
    source = tmp_path / "before/run/checkpoints/step-00000004"
    with pytest.raises(InputError, match="the checkpoint is of step 4, and the run ends at 3"):
        run("after", **LORA, max_train_steps=3, resume_from_checkpoint=str(source))


def test_the_latest_checkpoint_that_fits_is_found(run, tmp_path, capsys):
    stopped_run(run, "a/one", **LORA)
    (tmp_path / "a/one/run").rename(tmp_path / "a/run-of-lora")
    stopped_run(run, "a/two")
    (tmp_path / "a/two/run").rename(tmp_path / "a/run-of-all-weights")
    shutil.copytree(tmp_path / "a/run-of-lora", tmp_path / "a/damaged")
    next((tmp_path / "a/damaged/checkpoints/step-00000004").glob("model*")).write_bytes(b"")
    run("a", **LORA, max_train_steps=7, resume_from_checkpoint="latest")
    assert "run-of-lora/checkpoints/step-00000004" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({**LORA, "lora_rank": 8}, "lora_rank was 4 and is 8"),
        ({}, "model_type was 'lora' and is 'full'"),
        ({**LORA, "optimizer": "optimi-adamw"}, "optimizer was 'torch-adamw' and is 'optimi-adamw'"),
    ],
)
def test_what_a_checkpoint_can_not_become_is_refused_key_by_key(settings, said, run, tmp_path):
    stopped_run(run, "before", **LORA)
    source = tmp_path / "before/run/checkpoints/step-00000004"
    with pytest.raises(InputError, match=said):
        run("after", **settings, resume_from_checkpoint=str(source))


def test_a_checkpoint_that_is_none_is_named(run, tmp_path):
    with pytest.raises(InputError, match="is not a checkpoint: name its folder"):
        run(resume_from_checkpoint=str(tmp_path))
    with pytest.raises(InputError, match="'latest', but no run here has a checkpoint"):
        run(resume_from_checkpoint="latest")


def test_the_moving_average_is_saved_beside_the_weights_and_differs(run):
    tuned, _ = run(use_ema=True, ema_decay=0.9)
    assert tuned.versions().keys() == {"tuned", "raw"}
    raw, ema = weights_of(tuned, "raw"), weights_of(tuned)
    assert raw.keys() == ema.keys()
    assert any(not torch.equal(raw[name], ema[name]) for name in raw)
    tuned.verify()
