import pytest

from sanaflow.config import ValidationSettings
from sanaflow.evaluation.held_out_loss import measure_held_out_loss
from sanaflow.model.loading import default_device, load_transformer
from sanaflow.training.evaluation_loss import EvaluationLoss

SETTINGS = ValidationSettings(eval_timesteps=3)
SETS = {"train": {"a.png": (64, 64)}, "eval": {"y.png": (64, 64), "z.png": (100, 50)}}


def test_models_are_measured_at_the_same_noise(encode_sets, small_sana, tuned):
    caches = encode_sets(SETS)
    found = measure_held_out_loss(
        *caches, model=small_sana, tuned=tuned, champion=tuned, validation=SETTINGS, batch_size=2
    )
    assert found.losses.columns.tolist() == ["dataset", "sigma", "base", "tuned", "champion"]
    assert (found.losses["tuned"] == found.losses["champion"]).all()
    assert (found.losses["tuned"] != found.losses["base"]).all()
    alone = EvaluationLoss(*caches, SETTINGS, batch_size=2).measure(load_transformer(small_sana), default_device())
    assert found.losses["base"].tolist() == pytest.approx([row["loss"] for row in alone])
    assert found.means()["base"] == pytest.approx(found.losses["base"].mean())


def test_nothing_held_out_is_an_empty_table(encode_sets, small_sana, tuned):
    caches = encode_sets({"train": {"a.png": (64, 64)}})
    found = measure_held_out_loss(*caches, model=small_sana, tuned=tuned, validation=SETTINGS, batch_size=2)
    assert found.losses.empty
    assert found.means().empty
