"""What ZenML logs has no colours where nobody sees them."""

import os
import subprocess
import sys

import pytest

from tests.environment import PROJECT

SAY = "import pipelines; from zenml.logger import get_logger; get_logger('zenml.test').warning('said')"


@pytest.mark.parametrize(("told", "coloured"), [({}, False), ({"ZENML_LOGGING_COLORS_DISABLED": "false"}, True)])
def test_a_log_file_has_no_colours_unless_told_so(told, coloured):
    kept = {name: value for name, value in os.environ.items() if name != "ZENML_LOGGING_COLORS_DISABLED"}
    command = [sys.executable, "-c", SAY]
    said = subprocess.run(command, cwd=PROJECT, env=kept | told, capture_output=True, text=True, check=True)
    assert "said" in said.stdout + said.stderr
    assert ("\x1b[" in said.stdout + said.stderr) is coloured
