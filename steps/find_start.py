"""The weights that training goes on from."""

from typing import Annotated

from zenml import get_step_context, step
from zenml.client import Client
from zenml.exceptions import StepContextError

from materializers.champion import ChampionMaterializer
from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import PromotionSettings, TrainingSettings
from sanaflow.errors import InputError
from sanaflow.model.champion import Champion, start_from
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel


@step(enable_cache=False, output_materializers=ChampionMaterializer)
def find_start(
    latents: LatentCache,
    captions: CaptionCache,
    model: ModelReference,
    training: TrainingSettings,
    promotion: PromotionSettings,
) -> Annotated[Champion, "start"]:
    """Look for the champion, for `training.start_from: champion`. Runs every time: it is a look at the world."""
    try:
        found = Client().get_model_version(get_step_context().model.name, promotion.promote_to)
        artifact = found.get_artifact("tuned_model")
        champion: SanaModel | None = artifact.load() if artifact else None
    except (KeyError, StepContextError):
        champion = None
    except (InputError, OSError):
        raise InputError(
            f"training.start_from: version {found.name} can't be read from the active stack: "
            "set it to 'base', or run on the stack that made it"
        ) from None
    if champion is None:
        print("there is no champion yet: training starts from the base")
        return Champion()
    start = start_from(
        str(found.name),
        champion,
        base_digest=model.digest(),
        data={"latents": latents.digest(), "captions": captions.digest()},
        settings=training.model_dump(mode="json"),  # as the champion's came back from JSON
    )
    print(start.keeps_its_place or f"training starts from version {start.version or 'none: the base'}")
    return start
