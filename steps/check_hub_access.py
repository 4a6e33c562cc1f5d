"""Whether the hub will take the release, before hours are spent on it."""

from zenml import step

from sanaflow.config import PublishingSettings


@step(enable_cache=False)
def check_hub_access(publishing: PublishingSettings) -> None:
    """See that the token may write where the run will push to, if it will. Changes nothing on the hub."""
    from sanaflow.publishing.hub import check_write_access

    if publishing.pushed_to() or publishing.push_checkpoints_to_hub:
        check_write_access(str(publishing.hub_model_id))
