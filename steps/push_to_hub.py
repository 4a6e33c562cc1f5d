"""Scores and weights to a release."""

from typing import Annotated

from zenml import get_step_context, step

from materializers.hub_release import HubReleaseMaterializer
from sanaflow.config import PublishingSettings
from sanaflow.evaluation.gallery import Gallery
from sanaflow.evaluation.scores import ClipScores
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel
from sanaflow.publishing.manifest import HubRelease
from steps.store_folder import store_folder


@step(enable_cache=False, output_materializers=HubReleaseMaterializer)
def push_to_hub(
    tuned: SanaModel, model: ModelReference, scores: ClipScores, gallery: Gallery, publishing: PublishingSettings
) -> Annotated[HubRelease, "hub_release"]:
    """Write the release folder and push it if a repository is named.

    Runs every time and changes nothing if all is there already: a release that was deleted comes back.
    """
    from sanaflow.publishing.release import package_versions, publish

    context = get_step_context()
    [artifact] = context.inputs["tuned"]
    return publish(
        tuned,
        model=model,
        scores=scores,
        gallery=gallery,
        settings=publishing,
        default_folder=store_folder("releases") / tuned.digest(),
        made_by={"run": str(artifact.producer_pipeline_run_id), **package_versions()},
        model_version=str(context.model.version),
    )
