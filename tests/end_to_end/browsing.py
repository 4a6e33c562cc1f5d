"""The dashboard's server, and a real browser to look at it with."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from tests.environment import PROJECT

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")


@contextmanager
def dashboard(port: int = 8239) -> Iterator[str]:
    """The address that `python -m pipelines.dashboard` prints, that of the last run's page, while its server is up."""
    command = [sys.executable, "-m", "pipelines.dashboard", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert server.stdout is not None
    try:
        yield next(line.split()[-1] for line in server.stdout if "http" in line)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


@contextmanager
def browser_page() -> Iterator[Any]:
    """A page of Debian's Chromium, which reaches this machine alone. No pipeline can run meanwhile: both are loops."""
    from playwright.sync_api import sync_playwright

    with patch.dict(os.environ, {"PW_TEST_SCREENSHOT_NO_FONTS_READY": "1"}), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 1600, "height": 1400})
        here = ("http://127.0.0.1", "file://", "data:", "blob:", "about:")
        context.route("**/*", lambda route: route.continue_() if route.request.url.startswith(here) else route.abort())
        yield context.new_page()
        browser.close()


def open_visualization(page: Any, run_page: str, step: str, artifact: str, drawn: str) -> Any:
    """Open an artifact's sheet on a run's page, wait for what it should have drawn, and return that part."""
    page.goto(run_page, wait_until="domcontentloaded")
    page.locator(f'[data-testid="rf__node-{step}/outputs/step_output/{artifact}"]').click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_role("tab", name="Visualization").click()
    shown, large = sheet.locator(drawn).first, sheet.get_by_text("Load Preview")
    shown.or_(large).first.wait_for()
    if large.is_visible():
        large.click()
        shown.wait_for()
    return shown
