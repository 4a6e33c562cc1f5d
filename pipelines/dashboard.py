"""Start ZenML's dashboard on this machine and print the page of the last run. Ctrl-C stops it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import click
from zenml.client import Client

from sanaflow.errors import InputError

STARTUP_SECONDS = 120


@click.command(help=__doc__)
@click.option("--port", default=8237, show_default=True, help="Port on 127.0.0.1.")
def dashboard(port: int) -> None:
    """Run ZenML's local server until it is stopped."""
    runs = Client().list_pipeline_runs(sort_by="desc:created", size=1).items
    page = f"/projects/default/runs/{runs[0].id}" if runs else ""
    base = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [Path(sys.executable).with_name("zenml"), "login", "--local", "--blocking", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "AUTO_OPEN_DASHBOARD": "false"},
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the server is stopped too
    try:
        _wait_until_up(base, server)
        _skip_survey(base)
        print(f"\n  The last run: {base}{page}")
        print(
            "  Click an artifact, then 'Visualization' (and 'Load Preview' if it is large). Ctrl-C stops this.\n",
            flush=True,
        )
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
        server.wait()


def _wait_until_up(base: str, server: subprocess.Popen) -> None:
    for _ in range(STARTUP_SECONDS):
        if server.poll() is not None:
            raise InputError(f"ZenML's server ended at once: is the port of {base} taken? Choose another with --port")
        try:
            urllib.request.urlopen(f"{base}/health", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise InputError(f"ZenML's server didn't answer at {base} within {STARTUP_SECONDS} seconds: try again")


def _skip_survey(base: str) -> None:
    """Without this the first page is ZenML's questionnaire."""
    answer = {"email_opted_in": False, "user_metadata": {"finished_onboarding_survey": True}}
    request = urllib.request.Request(
        f"{base}/api/v1/current-user",
        data=json.dumps(answer).encode(),
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request, timeout=30).close()


if __name__ == "__main__":
    dashboard()
