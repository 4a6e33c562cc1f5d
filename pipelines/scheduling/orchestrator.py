"""ZenML's own schedules, for orchestrators that have such."""

import re
from contextlib import suppress
from typing import Any

from zenml.client import Client
from zenml.config.schedule import Schedule
from zenml.enums import StackComponentType
from zenml.models import ScheduleResponse, ScheduleUpdate
from zenml.orchestrators import BaseOrchestrator
from zenml.pipelines.pipeline_definition import Pipeline
from zenml.utils.pagination_utils import depaginate

from pipelines.scheduling.pipeline import source_root_here
from sanaflow.errors import InputError
from sanaflow.run_yaml import read_yaml


def has_schedules() -> bool:
    """Whether the active stack's orchestrator has."""
    return Client().active_stack.orchestrator.config.is_schedulable


def schedules() -> dict[str, ScheduleResponse]:
    """Those of the active project by name."""
    return {schedule.name: schedule for schedule in depaginate(Client().list_schedules, hydrate=True)}


def rows() -> dict[str, dict[str, Any]]:
    """What `list` says of them; of their runs ZenML's own lists know more."""
    unknown = dict.fromkeys(("next_due", "last_due", "last_started", "last_ended", "status", "exit_code", "log"))
    found = {}
    for name, one in schedules().items():
        with suppress(KeyError):  # its orchestrator is gone
            pipeline = Client().get_pipeline(one.pipeline_id).name if one.pipeline_id else None
            said = {"active": one.active, "cron": one.cron_expression, "timezone": "UTC", "pipeline": pipeline}
            found[name] = {"on": _orchestrator(one).name, **said, "config": None, **unknown}
    return found


def register(pipeline: Pipeline, config: str, *, name: str, cron: str, timezone: str | None) -> None:
    """Have the orchestrator run it from now on, as the YAML and the code are now, instead of an earlier one so named.

    Where the orchestrator knows a `concurrency_policy` (Kubernetes), two runs never overlap unless the YAML says so.

    Raises:
        InputError: Its schedules have no time zone or no seconds.
    """
    flavor = Client().active_stack.orchestrator.flavor
    if timezone not in (None, "UTC", "Etc/UTC"):
        raise InputError(f"--timezone '{timezone}': schedules of '{flavor}' are in UTC: convert --cron to that")
    if len(cron.split()) != 5:
        raise InputError(f"--cron '{cron}': schedules of '{flavor}' have five fields, no seconds")
    if old := schedules().get(name):  # it is replaced, for an update would change the cron expression alone
        _rename(old, f"{name}.old")
    schedule = Schedule(name=name, cron_expression=cron)
    try:
        with source_root_here():
            pipeline.with_options(config_path=config, schedule=schedule, **_one_at_a_time(config))()
    except BaseException:
        if half := schedules().get(name):
            Client().delete_schedule(half.id)
        if old:
            _rename(old, name)
        raise
    if old:
        Client().delete_schedule(old.id)


def switch(schedule: ScheduleResponse, *, active: bool) -> None:
    """Pause or resume it.

    Raises:
        InputError: The orchestrator can't.
    """
    if not _orchestrator(schedule).supports_schedule_updates:
        raise InputError(f"{schedule.name}: this orchestrator can't pause a schedule: remove it, and add it again")
    if schedule.active != active:
        Client().update_schedule(schedule.id, active=active)


def remove(schedule: ScheduleResponse) -> None:
    """Remove it.

    Raises:
        InputError: Only ZenML's entry was removed, for ZenML can't reach the orchestrator's.
    """
    able = _orchestrator(schedule).supports_schedule_deletion
    Client().delete_schedule(schedule.id)
    if not able:
        raise InputError(f"{schedule.name}: removed from ZenML; remove it in the orchestrator, too, which ZenML can't")


def _rename(schedule: ScheduleResponse, name: str) -> None:
    Client().zen_store.update_schedule(schedule.id, ScheduleUpdate(name=name))


def _orchestrator(schedule: ScheduleResponse) -> BaseOrchestrator:
    kind = StackComponentType.ORCHESTRATOR
    component = Client().get_stack_component(kind, schedule.orchestrator_id)
    orchestrator = BaseOrchestrator.from_model(component)
    assert isinstance(orchestrator, BaseOrchestrator)
    return orchestrator


def _one_at_a_time(config: str) -> dict[str, Any]:
    """Added under the key that the YAML uses, for ZenML refuses two of them."""
    known = Client().active_stack.orchestrator.settings_class
    settings = read_yaml(config).get("settings") or {}
    key = next((key for key in settings if re.split("[.:]", key)[0] == "orchestrator"), "orchestrator")
    if not known or "concurrency_policy" not in {*known.model_fields} - (settings.get(key) or {}).keys():
        return {}
    return {"settings": {key: {"concurrency_policy": "Forbid"}}}
