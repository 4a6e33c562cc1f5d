"""The end of a run: is there a new model, and who is to know."""

from zenml import get_step_context, step
from zenml.client import Client

from sanaflow.config import NotificationSettings
from sanaflow.evaluation.gate import PromotionDecision
from sanaflow.model.tuned import SanaModel
from sanaflow.publishing.manifest import HubRelease
from steps.tell import tell
from steps.trained_version import trained_version


@step(enable_cache=False)
def end_run(
    tuned: SanaModel, decision: PromotionDecision, release: HubRelease, notifications: NotificationSettings
) -> None:
    """Tell of a new model. A run that trained none leaves no model version behind."""
    version, context = trained_version(), get_step_context()
    if version.id != context.model.id:
        print(f"nothing new: these weights are version {version.name} of '{version.model.name}' already")
        Client().delete_model_version(context.model.id)  # this has to be the run's last step
        return
    verdict = f"promoted to {decision.stage}" if decision.promote else f"not promoted to {decision.stage}"
    text = f"Model '{version.model.name}', version {version.name}, is trained and {verdict}: {decision.reason()}."
    text += f" Published: {release.url}" if release.url else f" Release: {release.folder}"
    print(text)
    alerter = Client().active_stack.alerter
    if alerter:
        alerter.post(text)
    if notifications.webhook_secret and (problem := tell(notifications.webhook_secret, text)):
        print(f"nobody was told: {problem}")
