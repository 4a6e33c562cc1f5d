"""Scores and weights to a release."""

from typing import Annotated

from zenml import get_step_context, step
from zenml.client import Client

from materializers.hub_release import HubReleaseMaterializer
from sanaflow.cache.index import CaptionCache, LatentCache
from sanaflow.config import PublishingSettings
from sanaflow.evaluation.gallery import Gallery
from sanaflow.evaluation.scores import ClipScores
from sanaflow.model.reference import ModelReference
from sanaflow.model.tuned import SanaModel
from sanaflow.publishing.manifest import HubRelease
from steps.model_versions import trained_version
from steps.store_folder import store_folder


@step(enable_cache=False, output_materializers=HubReleaseMaterializer)
def push_to_hub(
    latents: LatentCache,
    captions: CaptionCache,
    tuned: SanaModel,
    model: ModelReference,
    scores: ClipScores,
    gallery: Gallery,
    publishing: PublishingSettings,
) -> Annotated[HubRelease, "hub_release"]:
    """Write the release folder and push it if a repository is named.

    Runs every time and changes nothing if all is there already: a release that was deleted comes back.
    """
    from sanaflow.publishing.release import publish
    from sanaflow.publishing.trained_on import trained_on

    context = get_step_context()
    [artifact] = context.inputs["tuned"]
    made_in = Client().get_pipeline_run(str(artifact.producer_pipeline_run_id))
    code, version = made_in.config.extra.get("code_commit"), trained_version()
    where = f"`python -m sanaflow lineage {version.model.name}@{version.name} --pictures` says more where it was made"
    return publish(
        tuned,
        model=model,
        scores=scores,
        gallery=gallery,
        settings=publishing,
        default_folder=store_folder("releases") / tuned.digest(),
        made_by={
            **{"version": f"{version.model.name}@{version.name}; {where}", "run": str(made_in.id)},
            **({"code": code} if code else {}),
            **made_in.config.extra.get("packages", {}),
        },
        trained_on=trained_on(latents, captions),
        model_version=str(version.name),
    )
