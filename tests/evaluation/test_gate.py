import numpy as np
import pandas as pd
import pytest

from sanaflow.config import PromotionSettings
from sanaflow.evaluation.gate import decide
from sanaflow.evaluation.losses import HeldOutLoss
from sanaflow.evaluation.scores import ClipScores

NOTHING_HELD_OUT = HeldOutLoss(pd.DataFrame(columns=["dataset", "sigma"]))


def scored(gain: float, *, spread: float = 1.0, nearest: float = 0.5, **more) -> ClipScores:
    """Twenty prompts, half of them old; the tuned model gains so much on all."""
    noise = np.random.default_rng(0).normal(0, spread, 20)
    frame = pd.DataFrame({"group": ["new", "old"] * 10, "base": 20 + noise})
    frame["tuned"] = 20 + gain - noise + noise.mean() * 2  # so that the mean gain is just that
    frame["tuned_nearest"] = nearest
    return ClipScores(frame.assign(**more), pd.DataFrame(), "packaged", "")


def losses(base: float, tuned: float, **more) -> HeldOutLoss:
    return HeldOutLoss(pd.DataFrame({"dataset": ["held"], "sigma": [0.5], "base": [base], "tuned": [tuned], **more}))


def broken(decision) -> list[str]:
    return decision.rules.loc[~decision.rules["holds"], "rule"].tolist()


def test_a_better_model_is_promoted_with_its_numbers():
    decision = decide(scored(3.0), losses(1.0, 0.9), PromotionSettings())
    assert decision.promote
    assert decision.against == "base"
    rules = decision.rules.set_index("rule")
    assert rules.at["min_clip_gain, significant", "found"] > 0
    assert rules.at["max_eval_loss_increase", "found"] == pytest.approx(-0.1)
    assert decision.reason() == "all 2 rules hold"


def test_a_worse_model_is_not():
    decision = decide(scored(-1.0), NOTHING_HELD_OUT, PromotionSettings())
    assert not decision.promote
    assert "gains -1.00" in decision.reason()


def test_a_gain_that_may_be_chance_is_none_unless_significance_is_not_asked_for():
    by_chance = scored(0.5, spread=4.0)
    assert broken(decide(by_chance, NOTHING_HELD_OUT, PromotionSettings())) == ["min_clip_gain, significant"]
    assert decide(by_chance, NOTHING_HELD_OUT, PromotionSettings(require_significant=False)).promote


def test_a_single_picture_is_never_significant():
    one = scored(5.0)
    one = ClipScores(one.scores[:1], one.checks, one.model, one.report)
    assert not decide(one, NOTHING_HELD_OUT, PromotionSettings()).promote


def test_the_champion_is_what_is_to_be_beaten():
    best = scored(3.0, champion=30.0)
    decision = decide(best, losses(1.0, 0.9, champion=0.7), PromotionSettings())
    assert decision.against == "champion"
    assert broken(decision) == ["min_clip_gain, significant", "max_eval_loss_increase"]


def test_a_champion_that_cannot_be_scored_keeps_its_place():
    decision = decide(
        scored(9.0), losses(1.0, 0.1), PromotionSettings(), keeps_its_place="version 3 is of another base"
    )
    assert not decision.promote
    assert decision.reason() == "version 3 is of another base"


def test_each_group_of_prompts_may_have_a_limit_of_its_own():
    scores = scored(3.0)
    scores.scores.loc[scores.scores["group"] == "old", "tuned"] -= 5
    assert decide(scores, NOTHING_HELD_OUT, PromotionSettings(min_clip_gain=None)).promote
    strict = PromotionSettings(min_clip_gain=None, max_clip_drop={"old": 1.0, "new": 1.0})
    assert broken(decide(scores, NOTHING_HELD_OUT, strict)) == ["max_clip_drop of 'old'"]


def test_a_copy_of_a_training_picture_can_be_refused():
    settings = PromotionSettings(max_similarity_to_training=0.95)
    assert decide(scored(3.0, nearest=0.94), NOTHING_HELD_OUT, settings).promote
    assert broken(decide(scored(3.0, nearest=0.96), NOTHING_HELD_OUT, settings)) == ["max_similarity_to_training"]


def test_no_number_holds_no_rule():
    scores = scored(3.0)
    scores.scores["tuned"] = float("nan")
    settings = PromotionSettings(require_significant=False, max_clip_drop={"old": 1.0}, max_similarity_to_training=0.9)
    scores.scores["tuned_nearest"] = float("nan")
    decision = decide(scores, losses(1.0, float("nan")), settings)
    assert not decision.rules["holds"].any()
