"""The dashboard in a real browser: every step and artifact is on the run's graph, and every artifact shows itself."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from pipelines.finetune import finetune
from tests.environment import PROJECT

CHROMIUM = shutil.which("chromium")
TEXT_ONLY = {
    *("base_model", "tuned_model", "hub_release"),
    *("latent_work", "caption_work", "encoded_captions"),
    *("champion", "held_out_loss", "promotion_decision"),
}


@pytest.fixture
def run_page(write_run, pictures):
    """The address that `python -m pipelines.dashboard` prints for a finished run, while its server is up."""
    never_encoded = [{"id": "set", "instance_data_dir": str(pictures), "resolution": 56}]  # so that there is a preview
    finished = finetune.with_options(config_path=str(write_run(datasets=never_encoded)))()
    server = subprocess.Popen(
        [sys.executable, "-m", "pipelines.dashboard", "--port", "8239"], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    )
    assert server.stdout is not None
    page = next(line.split()[-1] for line in server.stdout if "http" in line)
    try:
        yield page, finished
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
def test_every_step_and_artifact_is_drawn(run_page, monkeypatch):
    monkeypatch.setitem(os.environ, "PW_TEST_SCREENSHOT_NO_FONTS_READY", "1")
    from playwright.sync_api import sync_playwright

    page_address, run = run_page
    assert page_address.endswith(str(run.id))
    artifacts = {name: step for step, made in run.steps.items() for name in made.outputs}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1600, "height": 1400})
        page.route("**/*", lambda route: route.continue_() if "127.0.0.1" in route.request.url else route.abort())
        for name, step in artifacts.items():
            page.goto(page_address, wait_until="domcontentloaded")
            assert page.locator(f'[data-testid="rf__node-step/{step}"]').wait_for() is None
            page.locator(f'[data-testid="rf__node-{step}/outputs/step_output/{name}"]').click()
            sheet = page.get_by_role("dialog")
            sheet.get_by_role("tab", name="Visualization").click()
            drawn = sheet.locator("h1, h2, table" if name in TEXT_ONLY else "img, iframe").first
            large = sheet.get_by_text("Load Preview")
            drawn.or_(large).first.wait_for()
            if large.is_visible():
                large.click()
                drawn.wait_for()
            if name not in TEXT_ONLY | {"clip_scores"}:
                size = sheet.locator("img").first.evaluate("async i => { await i.decode(); return i.naturalWidth }")
                assert size > 100, name
        browser.close()
