"""Run a pipeline again and again: by the stack's orchestrator, or by the local scheduler where it has no schedules.

python -m sanaflow schedule configs/demo.yaml --cron "0 3 * * *"
python -m sanaflow schedule run
"""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from tzlocal import get_localzone_name
from zenml.client import Client

from pipelines.scheduling import named, orchestrator
from pipelines.scheduling.cron import cron_trigger
from pipelines.scheduling.local import LocalScheduler, scheduler_runs
from pipelines.scheduling.pipeline import load_checked
from sanaflow.errors import InputError


class _AddUnlessNamed(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        names_a_file = any(arg.endswith((".yaml", ".yml")) for arg in args)
        add = ["add"] if names_a_file and args[0] not in self.commands else []
        return super().parse_args(ctx, [*add, *args])


@click.group(cls=_AddUnlessNamed, help=(__doc__ or "").partition("\n")[0])
def schedule() -> None:
    """Commands."""


@schedule.command()
@click.argument("config", metavar="RUN.yaml", type=click.Path(path_type=Path))
@click.option("--cron", required=True, help="Minute, hour, day, month, weekday; in front, seconds if you like.")
@click.option("--pipeline", default="pipelines.retrain.retrain", show_default=True, help="Which pipeline.")
@click.option("--timezone", help="Such as Europe/Berlin. Default: this machine's; an orchestrator's own is UTC.")
@click.option("--name", help="Default: the YAML's, without its ending.")
@click.option(
    "--time-limit-hours", default=168.0, type=click.FloatRange(min=0.01), show_default=True, help="Of a local run."
)
def add(config: Path, cron: str, pipeline: str, timezone: str | None, name: str | None, **limit: float) -> None:
    """Add a schedule or, if there is one of that name, update it; the word `add` can be left out."""
    if not config.is_file():
        raise InputError(f"{config}: there is no such file")
    name, path = name or config.stem, str(config.resolve())
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise InputError(f"--name '{name}': write it in letters, digits, '.', '_' and '-'")
    local = not orchestrator.has_schedules()
    zone = timezone or (get_localzone_name() if local else "UTC")
    first = cron_trigger(cron, zone).get_next_fire_time(None, datetime.now(UTC))
    runs = load_checked(pipeline, path)
    if name in (orchestrator.schedules() if local else named.local_file().read()):
        raise InputError(f"--name '{name}': is taken by a stack of another kind: remove that schedule first")
    if local:
        where = {"folder": str(Path.cwd()), "stack": str(Client().active_stack_model.id)}
        named.local_file().add(name, pipeline=pipeline, config=path, cron=cron, timezone=zone, **where, **limit)
    else:
        orchestrator.register(runs, path, name=name, cron=cron, timezone=zone)
    print(f"{name}: next due {first:%F %T %Z}")
    if local and not scheduler_runs(named.local_file().folder):
        print("No scheduler runs yet: start it with `python -m sanaflow schedule run`")


@schedule.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_schedules(as_json: bool) -> None:
    """Those of this machine and of the active project."""
    rows = named.rows()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        due = f"next due {row['next_due'] or 'as the orchestrator has it'}" if row["active"] else "paused"
        print(f"{row['name']}: {row['cron']} ({row['timezone']}), {row['pipeline']}, on {row['on']}, {due}")
        if row["status"]:
            print(f"  last run {row['status']}, started {row['last_started']}, log {row['log']}")


@schedule.command()
@click.argument("name")
def pause(name: str) -> None:
    """Start no more runs; one under way goes on."""
    named.switch(name, active=False)


@schedule.command()
@click.argument("name")
def resume(name: str) -> None:
    """Go on. What was due meanwhile is not made up for."""
    named.switch(name, active=True)


@schedule.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove a schedule; a run under way goes on."""
    named.remove(name)


@schedule.command()
@click.option(
    "--grace-hours",
    default=24.0,
    type=click.FloatRange(min=0, max=8760),
    show_default=True,
    help="Make up for runs missed since then.",
)
@click.option(
    "--at-once", default=1, type=click.IntRange(min=1), show_default=True, help="Runs of different schedules at a time."
)
def run(grace_hours: float, at_once: int) -> None:
    """Be the scheduler of this machine until SIGTERM or Ctrl-C."""
    LocalScheduler(named.local_file().folder, grace=timedelta(hours=grace_hours), at_once=at_once).serve()
