"""The weights that training goes on from."""

from typing import Annotated

from zenml import step

from materializers.champion import ChampionMaterializer
from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import PromotionSettings, TrainingSettings
from sanaflow.errors import InputError
from sanaflow.model.champion import Champion, start_from
from sanaflow.model.reference import ModelReference
from steps.model_versions import version_in_stage


@step(enable_cache=False, output_materializers=ChampionMaterializer)
def find_start(
    latents: LatentCache,
    captions: CaptionCache,
    model: ModelReference,
    training: TrainingSettings,
    promotion: PromotionSettings,
) -> Annotated[Champion, "start"]:
    """Look for the champion, for `training.start_from: champion`. Runs every time: it is a look at the world."""
    found = version_in_stage(promotion.promote_to)
    artifact = found.get_artifact("tuned_model") if found else None
    if found is None or artifact is None:
        print("there is no champion yet: training starts from the base")
        return Champion()
    try:
        champion = artifact.load()
    except (InputError, OSError):
        raise InputError(
            f"training.start_from: version {found.name} can't be read from the active stack: "
            "set it to 'base', or run on the stack that made it"
        ) from None
    start = start_from(
        str(found.name),
        champion,
        base_digest=model.digest(),
        data={"latents": latents.digest(), "captions": captions.digest()},
        settings=training.model_dump(mode="json"),  # as the champion's came back from JSON
    )
    print(start.keeps_its_place or f"training starts from version {start.version or 'none: the base'}")
    return start
