"""The end of a run: is there a new model, and who is to know."""

from uuid import UUID

from zenml import get_step_context, step
from zenml.client import Client
from zenml.model.utils import link_artifact_version_to_model_version
from zenml.models import ModelVersionResponse

from sanaflow.config import NotificationSettings
from sanaflow.evaluation.gate import PromotionDecision
from sanaflow.model.tuned import SanaModel
from sanaflow.publishing.manifest import HubRelease
from steps.model_versions import artifacts_of, trained_version
from steps.tell import tell


@step(enable_cache=False)
def end_run(
    tuned: SanaModel, decision: PromotionDecision, release: HubRelease, notifications: NotificationSettings
) -> None:
    """Tell of a new model. A run that trained none leaves no model version behind.

    If the run that trained it failed afterwards, this one has finished its version, and that is new.
    """
    version, own = trained_version(), get_step_context().model
    if version.id != own.id:
        news = _finish(version, own.id)
        Client().delete_model_version(own.id)  # this has to be the run's last step
        if not news:
            print(f"nothing new: these weights are version {version.name} of '{version.model.name}' already")
            return
    verdict = f"not promoted to {decision.stage}: {decision.reason()}"
    if decision.promote:
        verdict = f"promoted to {decision.stage}: {decision.reason()}"
    elif version.stage == decision.stage:  # by the run that failed
        verdict = f"promoted to {decision.stage}"
    text = f"Model '{version.model.name}', version {version.name}, is trained and {verdict}."
    text += f" Published: {release.url}" if release.url else f" Release: {release.folder}"
    print(text)
    alerter = Client().active_stack.alerter
    if alerter:
        alerter.post(text)
    if notifications.webhook_secret and (problem := tell(notifications.webhook_secret, text)):
        print(f"nobody was told: {problem}")


def _finish(version: ModelVersionResponse, own: UUID) -> bool:
    """Give a version that an earlier run left without a release what this run made; whether there was need to."""
    there = {link.artifact_version.name for link in artifacts_of(version)}
    if "hub_release" in there:
        return False
    for link in artifacts_of(Client().get_model_version(model_version_name_or_number_or_id=own)):
        if link.artifact_version.name not in there:
            link_artifact_version_to_model_version(link.artifact_version, version)
    return True
