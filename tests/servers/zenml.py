"""A real ZenML server on loopback, with a database of its own, and an account for its clients."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import requests

PASSWORD = "password-of-the-server"
SERVER = ["-m", "uvicorn", "zenml.zen_server.zen_server_api:app", "--host", "127.0.0.1", "--log-level", "warning"]


class ZenMLServer:
    """A context manager: the server is at `url` while it is open, and takes the API key `key`."""

    def __init__(self, folder: Path, port: int) -> None:
        """`folder` is for its database and its log."""
        self._folder, self._port = folder, port
        self.url = f"http://127.0.0.1:{port}"

    def __enter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ZENML_")}
        environment = kept | {
            **{"ZENML_CONFIG_PATH": str(self._folder / "server"), "ZENML_ANALYTICS_OPT_IN": "false"},
            **{"ZENML_SERVER_AUTO_ACTIVATE": "1", "ZENML_DEFAULT_USER_PASSWORD": PASSWORD},
        }
        # A server whose database no client has seen refuses API keys: "No active user found."
        python = [sys.executable, "-c", "from zenml.client import Client; Client().active_stack_model"]
        subprocess.run(python, env=environment, cwd="/", check=True, capture_output=True, timeout=120)
        with (self._folder / "server.log").open("wb") as log:
            command = [sys.executable, *SERVER, "--port", str(self._port)]
            self._process = subprocess.Popen(command, env=environment, cwd="/", stdout=log, stderr=subprocess.STDOUT)
        try:
            self._wait()
            said = requests.post(
                f"{self.url}/api/v1/login", data={"username": "default", "password": PASSWORD}, timeout=60
            )
            self._headers = {"Authorization": f"Bearer {said.json()['access_token']}"}
            account = self.post("service_accounts", {"name": "tests", "active": True})
            self.key: str = self.post(f"service_accounts/{account['id']}/api_keys", {"name": "tests"})["body"]["key"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)

    def get(self, path: str, **query: Any) -> Any:
        """What its REST API answers."""
        said = requests.get(f"{self.url}/api/v1/{path}", params=query, headers=self._headers, timeout=60)
        said.raise_for_status()
        return said.json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Make something by its REST API."""
        said = requests.post(f"{self.url}/api/v1/{path}", json=body, headers=self._headers, timeout=60)
        said.raise_for_status()
        return said.json()

    def _wait(self) -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if requests.get(f"{self.url}/health", timeout=5).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.2)
        raise RuntimeError(f"the server did not start: {(self._folder / 'server.log').read_text()[-2000:]}")
