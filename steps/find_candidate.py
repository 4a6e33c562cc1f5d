"""The model that is to be scored."""

from typing import Annotated

from zenml import step
from zenml.client import Client

from materializers.sana_model import SanaModelMaterializer
from sanaflow.config import CandidateSettings
from sanaflow.errors import InputError
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel
from steps.store_folder import store_folder


@step(enable_cache=False, output_materializers=SanaModelMaterializer)
def find_candidate(model: ModelReference, candidate: CandidateSettings) -> Annotated[SanaModel, "candidate"]:
    """A model version's weights, or those of a folder or hub id. Runs every time: it is a look at the world."""
    from sanaflow.model.candidate import fetch_candidate

    name, _, version = candidate.name.rpartition("@")
    if not name:
        return fetch_candidate(candidate, base=model, models_folder=store_folder("models"))
    try:
        artifact = Client().get_model_version(name, version).get_artifact("tuned_model")
    except KeyError:
        artifact = None
    if artifact is None:
        raise InputError(
            f"candidate.name: there is no model version '{candidate.name}' with an artifact 'tuned_model': "
            f"`zenml model version list --model={name}` shows those there are"
        )
    tuned = artifact.load()
    if tuned.base_digest != model.digest():
        raise InputError(
            f"candidate.name '{candidate.name}' is of another base model, '{tuned.base_model}': "
            "name that in model.pretrained_model_name_or_path"
        )
    return tuned
