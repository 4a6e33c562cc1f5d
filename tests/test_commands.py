"""`python -m sanaflow` itself: what it lists, and that it is quick."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from click.testing import CliRunner

from sanaflow.__main__ import main, summary
from tests.environment import PROJECT

COMMANDS = entry_points(group="sanaflow.commands")


def test_help_lists_every_command_in_a_line_and_imports_none_of_them():
    script = (
        "import sys; from sanaflow.__main__ import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted({n.split('.')[0] for n in sys.modules} & {'torch', 'zenml', 'pandas'}))"
    )
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.splitlines()[-1] == "[]", "their modules take seconds to import"
    listed = said.partition("Commands:")[2].partition("Exit codes:")[0]
    assert {line.split()[0] for line in listed.splitlines() if line[:3].strip()} == COMMANDS.names
    assert "Exit codes:" in said


def test_every_command_says_what_it_is_for():
    for point in COMMANDS:
        assert 20 < len(summary(point)) < 150 and "missing" not in summary(point), point


def test_the_nearest_command_is_named():
    ended = CliRunner().invoke(main, ["liniage"])
    assert ended.exit_code == 2 and "Did you mean 'lineage'?" in ended.output


@pytest.mark.parametrize(("environment", "coloured"), [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_is_respected(tmp_path, environment, coloured):
    (tmp_path / "run.yaml").write_text("parameters: {model: 1}")
    ended = CliRunner().invoke(main, ["check", str(tmp_path / "run.yaml")], env=environment, color=True)
    assert ended.exit_code == 1 and ("\x1b" in ended.output) is coloured
