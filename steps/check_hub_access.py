"""Whether the hub will take the release, before hours are spent on it."""

from zenml import step

from sanaflow.config import PublishingSettings


@step(enable_cache=False)
def check_hub_access(publishing: PublishingSettings) -> None:
    """See that the token may write to `publishing.hub_model_id`, if there is one. Changes nothing on the hub."""
    from sanaflow.publishing.hub import check_write_access

    if publishing.hub_model_id:
        check_write_access(publishing.hub_model_id)
