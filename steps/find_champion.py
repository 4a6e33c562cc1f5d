"""The model version that is in the stage now."""

from typing import Annotated

from zenml import step

from materializers.champion import ChampionMaterializer
from sanaflow.config import PromotionSettings
from sanaflow.errors import InputError
from sanaflow.model.champion import Champion, as_champion
from sanaflow.model.tuned import SanaModel
from steps.model_versions import version_in_stage


@step(enable_cache=False, output_materializers=ChampionMaterializer)
def find_champion(tuned: SanaModel, promotion: PromotionSettings) -> Annotated[Champion, "champion"]:
    """Look which model the tuned one would take the place of. Runs every time: it is a look at the world."""
    found = version_in_stage(promotion.promote_to)
    if found is None:
        return Champion()
    version, artifact = str(found.name), found.get_artifact("tuned_model")
    if artifact is None:
        return Champion(version, keeps_its_place=f"version {version} has no artifact 'tuned_model'")
    try:
        before = found.get_artifact("champion")
        return as_champion(version, artifact.load(), tuned, before.load() if before else None)
    except (InputError, OSError):  # as when it was made on another stack
        reason = f"version {version} can't be scored: its artifact 'tuned_model' can't be read from the active stack"
        return Champion(version, keeps_its_place=reason)
