"""Whether a tuned model takes the champion's place: every rule with its numbers."""

from dataclasses import dataclass

import pandas as pd

from sanaflow.config import PromotionSettings
from sanaflow.evaluation.losses import HeldOutLoss
from sanaflow.evaluation.scores import ClipScores, interval_of_mean

RULE_COLUMNS = ["rule", "found", "limit", "holds", "said"]


@dataclass(frozen=True)
class PromotionDecision:
    """The decision.

    Attributes:
        promote: Whether all rules hold.
        stage: Which one it is about.
        against: 'base' or 'champion'.
        rules: One row a rule: what was `found`, its `limit`, whether it `holds`, and that in words.
    """

    promote: bool
    stage: str
    against: str
    rules: pd.DataFrame

    def reason(self) -> str:
        """Why not, or that all rules hold."""
        broken = self.rules.loc[~self.rules["holds"].astype(bool), "said"]
        return "; ".join(broken) if len(broken) else f"all {len(self.rules)} rules hold"


def decide(
    scores: ClipScores, losses: HeldOutLoss, settings: PromotionSettings, *, keeps_its_place: str | None = None
) -> PromotionDecision:
    """Hold the tuned model against the champion, or against the base where there is none.

    Args:
        scores: Of both.
        losses: Of both.
        settings: The rules.
        keeps_its_place: Why the champion does, whatever the scores are.
    """
    frame = scores.scores
    against = "champion" if "champion" in frame else "base"
    rules: list[tuple[str, float, float, bool, str]] = []
    if keeps_its_place:
        rules.append(("champion", float("nan"), float("nan"), False, keeps_its_place))
    if settings.min_clip_gain is not None:
        rules.append(_gain_rule(frame["tuned"] - frame[against], settings, against))
    for group, limit in settings.max_clip_drop.items():
        rows = frame[frame["group"] == group]
        drop = float((rows[against] - rows["tuned"]).mean())
        said = f"the score of '{group}' falls by {drop:.2f} against the {against}; {limit:g} are allowed"
        rules.append((f"max_clip_drop of '{group}'", drop, limit, drop <= limit, said))
    if settings.max_eval_loss_increase is not None and len(losses.losses):
        means, limit = losses.means(), settings.max_eval_loss_increase
        rise = float(means["tuned"] / means[against] - 1)
        said = f"the held-out loss changes by {rise:+.1%}; {limit:+.1%} is allowed"
        rules.append(("max_eval_loss_increase", rise, limit, rise <= limit, said))
    if settings.max_similarity_to_training is not None:
        alike, limit = float(frame["tuned_nearest"].max()), settings.max_similarity_to_training
        said = f"a picture is {alike:.3f} like one that was trained on; {limit:g} is allowed"
        rules.append(("max_similarity_to_training", alike, limit, alike <= limit, said))
    table = pd.DataFrame(rules, columns=RULE_COLUMNS)
    return PromotionDecision(bool(table["holds"].all()), settings.promote_to, against, table)


def _gain_rule(gains: pd.Series, settings: PromotionSettings, against: str) -> tuple[str, float, float, bool, str]:
    """A gain that is no number, from pictures that could not be scored, never holds."""
    limit = settings.min_clip_gain or 0.0
    mean, (low, high) = float(gains.mean()), interval_of_mean(gains.to_numpy())
    said = f"the CLIP score gains {mean:+.2f} [{low:+.2f}, {high:+.2f}] on the {against}"
    if not settings.require_significant:
        return "min_clip_gain", mean, limit, mean >= limit, f"{said}; {limit:+.2f} are wanted"
    wanted = f"{said}; the whole interval is wanted above {limit:+.2f}"
    return "min_clip_gain, significant", low, limit, low > limit, wanted
