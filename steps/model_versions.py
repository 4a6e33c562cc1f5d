"""The versions of a run's model: the one that holds its weights, and the one that is in a stage."""

from zenml import get_step_context
from zenml.client import Client
from zenml.exceptions import StepContextError
from zenml.models import ModelVersionArtifactResponse, ModelVersionResponse
from zenml.utils.pagination_utils import depaginate


def trained_version() -> ModelVersionResponse:
    """The version whose run trained the step's input `tuned`; another one's if it came from the cache."""
    context = get_step_context()
    [weights] = context.inputs["tuned"]
    links = depaginate(Client().list_model_version_artifact_links, artifact_version_id=weights.id, sort_by="created")
    for link in links:
        version = Client().get_model_version(model_version_name_or_number_or_id=link.model_version)
        if version.model.id == context.model.model_id:
            return version
    return Client().get_model_version(model_version_name_or_number_or_id=context.model.id)


def artifacts_of(version: ModelVersionResponse) -> list[ModelVersionArtifactResponse]:
    """All that is linked to it."""
    return depaginate(Client().list_model_version_artifact_links, model_version_id=version.id, hydrate=True)


def version_in_stage(stage: str) -> ModelVersionResponse | None:
    """The version of this run's model in a stage; None if there is none, or the run is of no model."""
    try:
        return Client().get_model_version(get_step_context().model.name, stage)
    except (KeyError, StepContextError):
        return None
