"""Scores to a stage."""

from typing import Annotated

from zenml import get_step_context, step

from materializers.promotion_decision import PromotionDecisionMaterializer
from sanaflow.config import PromotionSettings
from sanaflow.evaluation.gate import PromotionDecision, decide
from sanaflow.evaluation.held_out_loss import HeldOutLoss
from sanaflow.evaluation.scores import ClipScores
from sanaflow.model.champion import Champion


@step(enable_cache=False, output_materializers=PromotionDecisionMaterializer)
def decide_promotion(
    scores: ClipScores, losses: HeldOutLoss, champion: Champion, promotion: PromotionSettings
) -> Annotated[PromotionDecision, "promotion_decision"]:
    """Hold every rule against the scores; if all hold, this run's model version takes the champion's place."""
    decision = decide(scores, losses, promotion, keeps_its_place=champion.keeps_its_place)
    version = get_step_context().model
    if decision.promote:
        version.set_stage(decision.stage, force=True)
    verdict = "promoted" if decision.promote else "not promoted"
    print(f"model {version.name}, version {version.version}: {verdict} to {decision.stage}: {decision.reason()}")
    return decision
