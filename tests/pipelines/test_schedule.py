"""Real schedulers, processes and clocks; schedules by the second instead of by the day."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from click.testing import CliRunner
from zenml.client import Client
from zenml.config.base_settings import BaseSettings
from zenml.enums import ExecutionMode, StackComponentType
from zenml.orchestrators import BaseOrchestrator, BaseOrchestratorConfig, BaseOrchestratorFlavor, SubmissionResult

from pipelines.schedule import schedule
from pipelines.scheduling import named
from pipelines.scheduling.cron import cron_trigger
from pipelines.scheduling.file import ScheduleFile
from pipelines.scheduling.process import lock_file, start
from pipelines.scheduling.runs import ScheduledRuns
from sanaflow.errors import InputError
from tests.environment import PROJECT

EVERY_SECOND = "* * * * * *"
EVERY_HOUR = f"{(datetime.now(UTC).minute + 30) % 60} * * * *"  # not while a test runs
SERVE = "import sys, pathlib, datetime; from pipelines.scheduling.local import LocalScheduler;"
SERVE += "LocalScheduler(pathlib.Path(sys.argv[1]), grace=datetime.timedelta(hours=float(sys.argv[2]))).serve()"
JOB = """
import os, pathlib, signal, sys, time
said = pathlib.Path(sys.argv[2])
def say(text):
    with said.open("a") as file:
        file.write(f"{os.getpid()} {text}\\n")
def stop(*_):
    say("sigterm")
    time.sleep(CHECKPOINT_SECONDS)
    say("checkpoint")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
say("start")
print("at work", flush=True)
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    time.sleep(0.05)
if EXIT < 0:
    os.kill(os.getpid(), -EXIT)
say("end")
sys.exit(EXIT)
"""


def wait_for(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return result


class Scheduler:
    """A folder with schedules of small jobs, and the scheduler of it as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_folder = folder / "zenml" / "sanaflow"
        self.file = ScheduleFile(self.state_folder)
        self._processes: list[subprocess.Popen] = []

    def add(self, name="job", cron=EVERY_SECOND, *, seconds=0.0, checkpoint_seconds=0.0, exit_code=0, **values):
        code = JOB.replace("CHECKPOINT_SECONDS", repr(checkpoint_seconds)).replace("SECONDS", repr(seconds))
        code = code.replace("EXIT", repr(exit_code))
        (self.folder / f"{name}_module.py").write_text(code)
        where = {"folder": str(self.folder), "config": str(self.folder / f"{name}.said"), "timezone": "UTC"}
        self.file.add(name, pipeline=f"{name}_module.pipeline", cron=cron, **where)
        self.file.update(name, **values)

    def start(self, grace_hours=24.0) -> subprocess.Popen:
        log = (self.folder / "scheduler.log").open("a")
        command = [sys.executable, "-c", SERVE, str(self.state_folder), str(grace_hours)]
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=PROJECT, env=environment)
        before = self.log().count("scheduler started")
        self._processes.append(process)
        wait_for(lambda: self.log().count("scheduler started") > before)
        return process

    def log(self) -> str:
        return (self.folder / "scheduler.log").read_text()

    def said(self, name="job") -> list[str]:
        file = self.folder / f"{name}.said"
        return [line.split(" ")[1] for line in file.read_text().splitlines()] if file.exists() else []

    def state(self, name="job"):
        return self.file.read()[name]

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def scheduler(tmp_path):
    one = Scheduler(tmp_path)
    yield one
    one.end()


def stop(process: subprocess.Popen, number=signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(15)


def ago(**delta) -> datetime:
    return datetime.now(UTC) - timedelta(**delta)


def test_what_is_due_runs_one_at_a_time_and_is_written_down(scheduler):
    scheduler.add(seconds=1.5)
    process = scheduler.start()
    wait_for(lambda: scheduler.said().count("end") >= 2)
    assert stop(process) == 0
    said = scheduler.said()
    assert said[:4] == ["start", "end"] * 2, "a run began before the last one had ended"
    assert "is due, but its last run has not ended: left out" in scheduler.log()
    state = scheduler.state()
    assert state.last_due and state.last_started and state.last_ended
    first, *_ = sorted(Path(state.log).parent.iterdir())  # the last one may have been stopped before it said a word
    assert "at work" in first.read_text()


def test_a_failure_is_written_down_and_the_next_run_comes(scheduler):
    scheduler.add(exit_code=3)
    process = scheduler.start()
    wait_for(lambda: scheduler.said().count("end") >= 2)
    wait_for(lambda: scheduler.state().status == "failed")
    assert scheduler.state().exit_code == 3
    stop(process)
    assert scheduler.state().status == "failed", "it wasn't cut short by the stop"


def test_runs_missed_while_the_machine_was_off_are_made_up_for_once_and_not_if_too_old(scheduler):
    scheduler.add("missed", EVERY_HOUR, since=ago(hours=5))
    scheduler.add("old", f"0 0 {ago(days=3).day} * *", since=ago(days=4))
    scheduler.add("paused", EVERY_HOUR, since=ago(hours=5), active=False)
    process = scheduler.start()
    wait_for(lambda: scheduler.state("missed").status == "completed")
    stop(process)
    stop(scheduler.start())
    assert scheduler.said("missed") == ["start", "end"]
    assert not scheduler.said("old") and not scheduler.said("paused")


def test_sigterm_ends_the_run_and_the_next_scheduler_starts_it_again_at_once(scheduler):
    scheduler.add(cron=EVERY_HOUR, since=ago(hours=2), seconds=60, checkpoint_seconds=1.0)
    process = scheduler.start()
    wait_for(lambda: scheduler.state().pid)
    assert stop(process) == 0
    assert scheduler.said() == ["start", "sigterm", "checkpoint"]
    assert (scheduler.state().status, scheduler.state().exit_code) == ("interrupted", 143)
    scheduler.add(cron=EVERY_HOUR, seconds=0.1)
    process = scheduler.start()
    wait_for(lambda: scheduler.state().status == "completed")
    assert scheduler.said()[3:] == ["start", "end"]
    assert stop(process, signal.SIGINT) == 0


def test_a_killed_scheduler_leaves_no_run_behind_that_the_next_one_could_overlap(scheduler):
    scheduler.add(seconds=60, checkpoint_seconds=3.0)
    process = scheduler.start()
    wait_for(lambda: scheduler.said() == ["start"])
    process.kill()
    process.wait()
    wait_for(lambda: "sigterm" in scheduler.said())
    scheduler.add(seconds=0.1)
    process = scheduler.start()
    wait_for(lambda: "end" in scheduler.said())
    stop(process)
    assert scheduler.said()[:5] == ["start", "sigterm", "checkpoint", "start", "end"]


def test_a_run_that_is_killed_again_and_again_waits_for_its_next_due_time(scheduler):
    scheduler.add(cron=EVERY_HOUR, since=ago(hours=2), exit_code=-signal.SIGKILL)
    process = scheduler.start()
    wait_for(lambda: scheduler.said().count("start") == 3)
    time.sleep(2.5)
    assert scheduler.said() == ["start"] * 3
    assert (scheduler.state().status, scheduler.state().exit_code) == ("interrupted", -9)
    stop(process)


def test_a_run_that_outlives_a_killed_scheduler_and_hangs_is_killed_by_the_next_one(scheduler, monkeypatch):
    scheduler.add(seconds=60, status="running")
    lock = lock_file(scheduler.state_folder / "job.run.lock")
    child = start(scheduler.state(), scheduler.folder / "logs" / "job.log", lock=lock)
    os.close(lock)
    scheduler.file.update("job", pid=child.pid)
    later = ScheduledRuns(scheduler.file)
    later.find_cut_short("job", scheduler.state())
    assert child.poll() is None and scheduler.state().status == "running"
    monkeypatch.setattr("pipelines.scheduling.runs.STOP_SECONDS", 0)
    later.find_cut_short("job", scheduler.state())
    assert child.wait(15) == -signal.SIGKILL
    later.find_cut_short("job", scheduler.state())
    assert scheduler.state().status == "interrupted"


def test_a_hung_run_is_ended_so_that_the_next_one_can_come(scheduler):
    scheduler.add(seconds=60, time_limit_hours=0.5 / 3600)
    process = scheduler.start()
    wait_for(lambda: scheduler.said().count("start") == 2)
    stop(process)
    assert scheduler.said()[:4] == ["start", "sigterm", "checkpoint", "start"]
    assert "timed out" in scheduler.log()


def test_what_changes_in_the_file_holds_while_the_scheduler_runs(scheduler):
    process = scheduler.start()
    scheduler.add()
    wait_for(lambda: scheduler.said())
    scheduler.file.update("job", active=False)
    paused = datetime.now(UTC)
    time.sleep(3)
    assert scheduler.state().last_started < paused + timedelta(seconds=1.5)
    before = scheduler.said()
    scheduler.file.update("job", active=True, since=datetime.now(UTC))
    wait_for(lambda: len(scheduler.said()) > len(before))
    with scheduler.file.changed() as schedules:
        del schedules["job"]
    time.sleep(1.5)
    before = scheduler.log().count("job: started")
    time.sleep(1.2)
    assert scheduler.log().count("job: started") == before
    stop(process)


def test_the_command_is_the_scheduler_of_the_machine_and_the_only_one(scheduler):
    scheduler.start()
    command = [sys.executable, "-c", "from pipelines.schedule import schedule; schedule()", "run"]
    environment = os.environ | {"ZENML_CONFIG_PATH": str(scheduler.folder / "zenml")}
    second = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60)
    assert second.stderr == f"Error: {scheduler.state_folder}: a scheduler runs already for these schedules\n"
    assert second.returncode == 1


def test_logs_are_bounded(scheduler):
    folder = scheduler.state_folder / "logs" / "job"
    folder.mkdir(parents=True)
    for number in range(30):
        (folder / f"19700101T0000{number:02}.log").touch()
    scheduler.add(cron=EVERY_HOUR, since=ago(hours=2))
    process = scheduler.start()
    wait_for(lambda: scheduler.state().status == "completed")
    stop(process)
    assert len(list(folder.iterdir())) == 20


@pytest.mark.parametrize(
    ("cron", "after", "due"),
    [
        ("0 3 * * 0", "2026-11-27", "2026-11-29T03:00"),  # Sunday
        ("0 3 * * 7", "2026-11-27", "2026-11-29T03:00"),
        ("0 3 * * 1-5", "2026-11-28", "2026-11-30T03:00"),
        ("0 3 * * sat", "2026-11-27", "2026-11-28T03:00"),
        ("0 3 13 * 5", "2026-11-28", "2026-12-04T03:00"),  # a Friday or a 13th
        ("0 3 13 * *", "2026-11-28", "2026-12-13T03:00"),
        ("30 0 3 * * *", "2026-11-27", "2026-11-27T03:00:30"),
    ],
)
def test_an_expression_is_due_when_unix_cron_says(cron, after, due):
    start, expected = (datetime.fromisoformat(time).replace(tzinfo=UTC) for time in (after, due))
    assert cron_trigger(cron, "UTC").get_next_fire_time(None, start) == expected


def test_a_time_zone_keeps_its_hour_when_the_clocks_change():
    trigger, due = cron_trigger("0 3 * * *", "Europe/Berlin"), datetime(2026, 3, 27, 12, tzinfo=UTC)
    hours = []
    for _ in range(3):
        due = trigger.get_next_fire_time(None, due + timedelta(minutes=1)).astimezone(UTC)
        hours.append(due.hour)
    assert hours == [2, 1, 1]


@pytest.mark.parametrize(
    ("cron", "timezone", "message"),
    [
        ("0 3 * *", "UTC", "--cron '0 3 * *': it has 4 fields instead of five"),
        ("61 3 * * *", "UTC", "the last value (61) is higher than the maximum value (59)"),
        ("0 3 * * 8", "UTC", "'8' is no day of the week: 0 to 6 from Sunday, or sun to sat"),
        ("0 3 * * fri-mon", "UTC", "goes backwards"),
        ("0 3 30 2 *", "UTC", "there is no such day"),
        ("0 3 * * *", "Europe/Berln", "--timezone 'Europe/Berln': did you mean 'Europe/Berlin'?"),
        ("0 3 * * *", "??", "--timezone '??': unknown: write it as Europe/Berlin"),
    ],
)
def test_a_wrong_time_is_one_line(cron, timezone, message):
    with pytest.raises(InputError) as caught:
        cron_trigger(cron, timezone)
    assert message in caught.value.message and "\n" not in caught.value.message


@pytest.fixture
def call():
    """Runs the command: gives what it printed, and sees that it succeeds unless told otherwise."""

    def run(*arguments, fails=False) -> str:
        result = CliRunner().invoke(schedule, [str(a) for a in arguments])
        assert bool(result.exit_code) == fails, result.output
        return result.output.strip()

    yield run
    with named.local_file().changed() as schedules:
        schedules.clear()


@pytest.fixture
def nightly(tmp_path) -> Path:
    parameters = {
        "model": {"pretrained_model_name_or_path": "some/model"},
        "datasets": [{"id": "a", "instance_data_dir": "x"}],
    }
    path = tmp_path / "nightly.yaml"
    path.write_text(yaml.safe_dump({"parameters": parameters}))
    return path


def added(nightly, *more, cron="0 3 * * *", pipeline="pipelines.finetune.finetune"):
    return (nightly, "--cron", cron, "--pipeline", pipeline, *more)


def test_the_commands_on_the_local_stack(call, nightly):
    said = call(*added(nightly, "--timezone", "Asia/Tokyo"))
    assert "nightly: next due" in said and "03:00:00 JST" in said and "No scheduler runs yet" in said
    call("add", *added(nightly, cron="30 4 * * *"))
    call(*added(nightly, "--name", "other"))
    rows = {row["name"]: row for row in json.loads(call("list", "--json"))}
    assert rows.keys() == {"nightly", "other"}
    assert (rows["nightly"]["cron"], rows["nightly"]["config"]) == ("30 4 * * *", str(nightly))
    assert rows["nightly"]["next_due"] and rows["nightly"]["stack"] == str(Client().active_stack_model.id)
    call("pause", "nightly")
    assert "paused" in call("list").splitlines()[0]
    call("resume", "nightly")
    call("remove", "nightly")
    assert call("list").startswith("other: 0 3 * * *")
    assert call("pause", "othr", fails=True) == "Error: othr: no such schedule: did you mean 'other'?"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pipeline": "pipelines.finetun.finetune"}, "--pipeline 'pipelines.finetun.finetune': No module named"),
        ({"pipeline": "pipelines.finetune.fintune"}, "has no attribute 'fintune'"),
        ({"pipeline": "pipelines.finetune.TrainingSettings"}, "is no pipeline"),
        ({"cron": "0 3 * *"}, "it has 4 fields"),
    ],
)
def test_what_can_not_be_scheduled_is_one_line(call, nightly, change, message):
    said = call(*added(nightly, **change), fails=True)
    assert message in said and len(said.splitlines()) == 1


def test_a_yaml_with_mistakes_and_odd_names_are_refused(call, nightly, tmp_path):
    assert call(*added(tmp_path / "no.yaml"), fails=True).endswith("no.yaml: there is no such file")
    assert "write it in letters" in call(*added(nightly, "--name", "a/b"), fails=True)
    nightly.write_text(nightly.read_text().replace("datasets", "datasts"))
    assert "did you mean 'datasets'" in call(*added(nightly), fails=True)
    assert call("list") == ""


def test_a_damaged_file_is_named(scheduler):
    process = scheduler.start()
    (scheduler.state_folder / "schedules.json").write_text("{")
    assert process.wait(15) == 1
    assert f"{scheduler.state_folder / 'schedules.json'}: is damaged" in scheduler.log()


class RecordingSettings(BaseSettings):
    concurrency_policy: str | None = None
    service_account_name: str | None = None


class RecordingConfig(BaseOrchestratorConfig):
    @property
    def is_schedulable(self) -> bool:
        return True


class RecordingOrchestrator(BaseOrchestrator):
    """Has schedules and can pause them, as Kubernetes' can; keeps what it was asked to do."""

    asked: ClassVar[list[tuple]] = []

    broken: ClassVar[bool] = False

    @property
    def settings_class(self):
        return RecordingSettings

    @property
    def supported_execution_modes(self):
        return [*ExecutionMode]

    def get_orchestrator_run_id(self) -> str:
        return "run"

    def submit_pipeline(self, snapshot, stack, **_):
        if self.broken:
            raise RuntimeError("no connection")
        settings = self.get_settings(snapshot)
        self.asked.append(("add", snapshot.schedule.cron_expression, *settings.model_dump().values()))
        return SubmissionResult()

    def update_schedule(self, schedule, update):
        self.asked.append(("update", update.active))

    def delete_schedule(self, schedule):
        self.asked.append(("delete", schedule.name))


class RecordingFlavor(BaseOrchestratorFlavor):
    name = "recording"
    config_class = RecordingConfig
    implementation_class = RecordingOrchestrator


@pytest.fixture
def recording():
    client, kind = Client(), StackComponentType.ORCHESTRATOR
    before = client.active_stack_model
    flavor = client.create_flavor(source=f"{__name__}.RecordingFlavor", component_type=kind)
    component = client.create_stack_component("recording", "recording", kind, configuration={})
    parts = {kind: components[0].id for kind, components in before.components.items()}
    stack = client.create_stack("recording", parts | {kind: component.id})
    client.activate_stack(stack.id)
    yield RecordingOrchestrator.asked
    client.activate_stack(before.id)
    client.delete_stack(stack.id)
    client.delete_stack_component("recording", kind)
    client.delete_flavor(flavor.id)


def test_the_commands_where_the_orchestrator_has_schedules(call, nightly, recording, monkeypatch):
    call(*added(nightly))
    told = {"settings": {"orchestrator.recording": {"service_account_name": "me"}}}
    nightly.write_text(yaml.safe_dump(yaml.safe_load(nightly.read_text()) | told))
    call(*added(nightly, cron="30 4 * * *"))
    with monkeypatch.context() as patch:
        patch.setattr(RecordingOrchestrator, "broken", True)
        call(*added(nightly, cron="0 5 * * *"), fails=True)
    assert recording == [
        ("add", "0 3 * * *", "Forbid", None),
        ("add", "30 4 * * *", "Forbid", "me"),
        ("delete", "nightly.old"),
        ("delete", "nightly"),  # the half of the third
    ]
    (row,) = json.loads(call("list", "--json"))
    assert {k: row[k] for k in ("name", "on", "active", "cron", "timezone", "pipeline")} == {
        **{"name": "nightly", "on": "recording", "active": True},
        **{"cron": "30 4 * * *", "timezone": "UTC", "pipeline": "finetune"},
    }
    assert "are in UTC" in call(*added(nightly, "--timezone", "Asia/Tokyo"), fails=True)
    call("pause", "nightly")
    call("pause", "nightly")
    call("resume", "nightly")
    call("remove", "nightly")
    assert recording[4:] == [("update", False), ("update", True), ("delete", "nightly")]
    assert call("list") == ""
