"""Pin the base model."""

from typing import Annotated

from zenml import step

from materializers.model_reference import ModelReferenceMaterializer
from sanaflow.config import ModelSettings
from sanaflow.model.reference import ModelReference
from sanaflow.model.reference import resolve_model as resolve


@step(enable_cache=False, output_materializers=ModelReferenceMaterializer)
def resolve_model(model: ModelSettings) -> Annotated[ModelReference, "base_model"]:
    """Find the base model, and pin it to a hub commit or to the digests of its files. Downloads no weights.

    Runs every time: it is a look at the world. What follows is cached as long as it finds the same.
    """
    return resolve(model)
