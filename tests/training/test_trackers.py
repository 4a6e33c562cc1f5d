"""Curves where the user's own tools look for them."""

import pytest
import wandb
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sanaflow.config import ValidationSettings
from sanaflow.errors import InputError


def test_tensorboard_gets_curves_and_pictures(run, tmp_path):
    validation = ValidationSettings(report_to="tensorboard", validation_prompt="a", validation_steps=3)
    draw = lambda transformer, step, weights: {"a 8x8": Image.new("RGB", (8, 8))}  # noqa: E731
    _, log = run("one", options={"validation": validation, "draw": draw})
    found = EventAccumulator(str(tmp_path / "one/run/sanaflow")).Reload()
    losses = found.Scalars("train/loss")
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in losses] == pytest.approx(log.steps["loss"].tolist())
    assert [event.step for event in found.Images("a 8x8")] == [0, 3, 6]


@pytest.fixture
def forgetful_wandb():
    """W&B keeps, for the whole process, what it was first asked with; another test may have done that."""
    wandb.teardown()


def test_wandb_writes_offline_without_a_key(run, tmp_path, monkeypatch, forgetful_wandb):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    run("one", options={"validation": ValidationSettings(report_to="wandb")})
    assert list((tmp_path / "one/run/wandb").glob("offline-run-*/*.wandb"))


def test_wandb_online_without_a_key_is_one_line_before_training(run, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"no key: set WANDB_API_KEY or run `wandb login`"):
        run("one", options={"validation": ValidationSettings(report_to="wandb")})
