"""How a run ended, where ZenML doesn't say: on Kubernetes a failed step ends the command as if all were well."""

from typing import Any

from zenml.client import Client
from zenml.enums import ExecutionStatus
from zenml.utils.dashboard_utils import get_run_url

from sanaflow.errors import InputError


def raise_if_failed(run: Any) -> Any:
    """Give back what a pipeline's call gave: its run, which may go on elsewhere, or None for a schedule.

    Raises:
        InputError: It has failed.
    """
    if run is None or Client().get_pipeline_run(run.id).status != ExecutionStatus.FAILED:
        return run
    steps = Client().list_run_steps(pipeline_run_id=run.id, status=ExecutionStatus.FAILED, size=1).items
    where = f" in step '{steps[0].name}'" if steps else ""
    raise InputError(f"the run '{run.name}' failed{where}: its logs say why ({get_run_url(run) or 'on the dashboard'})")
