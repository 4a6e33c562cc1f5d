"""Scores to a stage."""

from typing import Annotated

from zenml import step

from materializers.promotion_decision import PromotionDecisionMaterializer
from sanaflow.config import PromotionSettings
from sanaflow.evaluation.gate import PromotionDecision, decide
from sanaflow.evaluation.losses import HeldOutLoss
from sanaflow.evaluation.scores import ClipScores
from sanaflow.model.champion import Champion
from sanaflow.model.tuned import SanaModel
from steps.model_versions import trained_version


@step(enable_cache=False, output_materializers=PromotionDecisionMaterializer)
def decide_promotion(
    tuned: SanaModel, scores: ClipScores, losses: HeldOutLoss, champion: Champion, promotion: PromotionSettings
) -> Annotated[PromotionDecision, "promotion_decision"]:
    """Hold every rule against the scores; if all hold, its model version takes the champion's place."""
    decision = decide(scores, losses, promotion, keeps_its_place=champion.keeps_its_place)
    version = trained_version()
    if decision.promote:
        version.set_stage(decision.stage, force=True)
    verdict = "promoted" if decision.promote else "not promoted"
    print(f"model {version.model.name}, version {version.name}: {verdict} to {decision.stage}: {decision.reason()}")
    return decision
