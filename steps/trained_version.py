"""Which model version holds a run's weights. A run whose weights came from the cache trained no model."""

from zenml import get_step_context
from zenml.client import Client
from zenml.models import ModelVersionResponse
from zenml.utils.pagination_utils import depaginate


def trained_version(tuned: str = "tuned") -> ModelVersionResponse:
    """The first version of this run's model with the weights that the input `tuned` is; else this run's own."""
    context = get_step_context()
    [weights] = context.inputs[tuned]
    links = depaginate(Client().list_model_version_artifact_links, artifact_version_id=weights.id, sort_by="created")
    for link in links:
        version = Client().get_model_version(model_version_name_or_number_or_id=link.model_version)
        if version.model.id == context.model.model_id:
            return version
    return Client().get_model_version(model_version_name_or_number_or_id=context.model.id)
