"""A loss or gradient that is no number never reaches the weights."""

import json

import pytest
import torch

from sanaflow.config import ValidationSettings
from sanaflow.errors import InputError
from sanaflow.model.tunable import load_tunable
from sanaflow.training.batches import Batches
from sanaflow.training.guard import SCALER_PATIENCE, Guard
from sanaflow.training.optimizers import make_optimizer
from sanaflow.training.schedules import make_schedule
from sanaflow.training.setup import make_accelerator
from sanaflow.training.state import TrainingState
from tests.training.runs import CPU, short, train_in_place

OPTIMIZERS = ["torch-adamw", "optimi-adamw", "bnb-adamw8bit"]  # told on the device, or asked for from here


class Poison:
    """Makes the model's answer no number at its n-th forwards while training, and remembers what it was asked."""

    def __init__(self, transformer, *calls: int) -> None:
        self.calls, self.count, self.noisy, self.weights = set(calls), 0, [], []
        self.watched = transformer.proj_out.weight
        transformer.register_forward_hook(self.hook, with_kwargs=True)

    def hook(self, module, args, kwargs, output):
        self.count += 1
        self.noisy.append(kwargs["hidden_states"].clone())
        self.weights.append(self.watched.detach().clone())
        return (output[0] * float("nan"),) if self.count in self.calls else output


def start(caches, model, folder, *calls, **settings):
    settings = short(**{"gradient_accumulation_steps": 1, "lr_scheduler": "constant", "lr_warmup_steps": 0, **settings})
    tunable = load_tunable(model, settings, CPU)
    poison, batches = Poison(tunable.transformer, *calls), Batches(*caches, settings)
    return tunable, poison, batches, lambda: train_in_place(tunable, batches, settings, folder)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_update_that_is_no_number_is_left_out_and_written_down(optimizer, caches, talkative_sana, tmp_path):
    tunable, poison, batches, train = start(caches, talkative_sana, tmp_path, 1, 3, optimizer=optimizer)
    log = train()
    assert log.steps["loss"].isna().tolist() == [True, False, True, False, False, False]
    assert torch.equal(poison.weights[1], poison.weights[0]), "the first update changed nothing"
    assert torch.equal(poison.weights[3], poison.weights[2]), "nor did the third"
    assert not torch.equal(poison.weights[2], poison.weights[1])
    assert all(weight.isfinite().all() for weight in tunable.weights().values())
    assert log.skipped["step"].tolist() == [1, 3]
    for row in log.skipped.itertuples():
        assert row.samples == batches.samples(row.step - 1)
        assert len(row.sigmas) == len(row.samples) and all(0 < sigma < 1 for sigma in row.sigmas)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_update_that_is_left_out_leaves_weights_and_optimizer_alone(optimizer, tmp_path):
    settings = short(optimizer=optimizer, lr_scheduler="constant", lr_warmup_steps=0)
    guard = Guard(make_accelerator(settings, ValidationSettings(), tmp_path))
    layer = torch.nn.Linear(128, 64)
    made = make_optimizer(list(layer.parameters()), settings)
    state = TrainingState(dict(layer.named_parameters()), made, make_schedule(made, settings, steps=6))

    def step(value):
        for parameter in layer.parameters():
            parameter.grad = torch.full_like(parameter, value)
        return guard.step(made, torch.tensor(value), torch.tensor(value))

    assert not step(1.0)
    before = state.capture()[0]
    for value in (float("nan"), float("inf"), float("nan")):
        assert step(value)
    after = state.capture()[0]
    for file, tensors in before.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, after[file][name]), f"{file} {name}"
    assert int(guard.most_in_a_row) == 3
    assert not step(1.0)
    assert int(guard.in_a_row) == 0 and int(guard.most_in_a_row) == 3
    assert not torch.equal(layer.weight, before["model"]["weight"])


def test_several_in_a_row_lead_back_to_the_last_good_checkpoint_and_on_with_other_noise(
    caches, talkative_sana, tmp_path, capsys
):
    tunable, poison, _, train = start(caches, talkative_sana, tmp_path, 5, 6, 7, max_train_steps=8)
    log = train()
    assert "3 updates in a row were no numbers: back to step 4" in capsys.readouterr().out
    assert log.steps["step"].tolist() == list(range(1, 9)) and log.steps["loss"].notna().all()
    assert log.skipped["step"].tolist() == [5, 6, 7]
    again = poison.noisy[-4]  # the fifth step a second time
    assert again.shape == poison.noisy[4].shape and not torch.equal(again, poison.noisy[4])
    assert torch.equal(poison.weights[-4], poison.weights[4]), "with the weights of the checkpoint"
    assert all(weight.isfinite().all() for weight in tunable.weights().values())


def test_what_goes_on_to_be_no_number_ends_with_a_report_and_keeps_the_checkpoints(caches, talkative_sana, tmp_path):
    *_, train = start(caches, talkative_sana, tmp_path, *range(5, 100), max_train_steps=30)
    with pytest.raises(
        InputError, match=r"3 updates in a row.*twice from the checkpoint of step 4.*noise levels"
    ) as error:
        train()
    assert "Lower training.learning_rate" in error.value.message
    report = json.loads((tmp_path / "nonfinite.json").read_text())
    assert {row["attempt"] for row in report} == {0, 1}
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000002", "step-00000004"]


def test_a_learning_rate_that_is_far_too_high_ends_in_words(run):
    with pytest.raises(InputError, match="updates in a row had a loss or gradient that is no number"):
        run(max_train_steps=40, learning_rate=1e30, max_grad_norm=1e30)


def test_with_a_scaler_overflows_are_its_business_until_they_do_not_end(tmp_path):
    settings = short(optimizer="optimi-adamw", lr_scheduler="constant", lr_warmup_steps=0)
    accelerator = make_accelerator(settings, ValidationSettings(), tmp_path)
    accelerator.scaler = torch.amp.GradScaler("cpu")
    guard, layer = Guard(accelerator), torch.nn.Linear(8, 8)
    made = make_optimizer(list(layer.parameters()), settings)
    bad = []
    for _ in range(SCALER_PATIENCE + 3):
        accelerator.scaler.scale(layer(torch.ones(1, 8)).sum()).backward()
        for parameter in layer.parameters():
            parameter.grad.fill_(float("inf"))
        accelerator.scaler.unscale_(made)
        bad.append(bool(guard.step(made, torch.tensor(1.0), torch.tensor(float("inf")))))
        made.zero_grad()
    assert bad == [False] * SCALER_PATIENCE + [True] * 3
    assert all(weight.isfinite().all() for weight in layer.parameters())
