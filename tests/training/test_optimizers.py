import pytest
import torch

from sanaflow.training.optimizers import CLASSES, make_optimizer
from sanaflow.training.schedules import make_schedule
from sanaflow.training.state import TrainingState
from sanaflow.training_settings import OPTIMIZERS
from tests.training.runs import short


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(8, 64, 3), torch.nn.Flatten(), torch.nn.Linear(256, 128), torch.nn.ReLU()
    return torch.nn.Sequential(*layers, torch.nn.Linear(128, 4))


def state_of(layers, name: str) -> TrainingState:
    rate = 1.0 if name == "prodigy" else 1e-3
    settings = short(optimizer=name, learning_rate=rate, lr_scheduler="constant", lr_warmup_steps=0)
    optimizer = make_optimizer(list(layers.parameters()), settings)
    return TrainingState(dict(layers.named_parameters()), optimizer, make_schedule(optimizer, settings, steps=24))


def train(layers, state: TrainingState, steps: range) -> list[float]:
    losses = []
    for step in steps:
        seen = torch.randn(16, 8, 4, 4, generator=torch.Generator().manual_seed(step))
        loss = (layers(seen) - 1).square().mean()
        loss.backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_every_name_has_a_class():
    assert set(CLASSES) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_learns_and_goes_on_bit_by_bit_from_what_was_captured(name):
    layers = network()
    state = state_of(layers, name)
    first = train(layers, state, range(12))
    tensors, plain = state.capture()
    last = train(layers, state, range(12, 24))
    assert last[-1] < first[0]
    again = network()
    restored = state_of(again, name)
    restored.restore(tensors, {**plain, "step": 12})
    assert train(again, restored, range(12, 24)) == last
    for one, other in zip(layers.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
