"""The dashboard in a real browser: every step and artifact is on the run's graph, and every artifact shows itself."""

import pytest
from click.testing import CliRunner

from pipelines.finetune import finetune
from pipelines.lineage.command import lineage
from tests.end_to_end.browsing import browser_page, dashboard, needs_chromium, open_visualization

TEXT_ONLY = {
    *("base_model", "tuned_model", "hub_release"),
    *("latent_work", "caption_work", "encoded_captions"),
    *("champion", "held_out_loss", "promotion_decision"),
}
HTML = {"clip_scores", "lineage"}


@pytest.fixture
def finished(write_run, pictures):
    """A run of never-encoded pictures, so that there is a preview."""
    new = [{"id": "set", "instance_data_dir": str(pictures), "resolution": 56}]
    return finetune.with_options(config_path=str(write_run(datasets=new)))()


@needs_chromium
def test_every_step_and_artifact_is_drawn_and_the_lineage_page_leads_to_its_runs(finished, tmp_path):
    artifacts = {name: step for step, made in finished.steps.items() for name in made.outputs}
    with dashboard() as run_page, browser_page() as page:
        assert run_page.endswith(str(finished.id))
        page.goto(run_page, wait_until="domcontentloaded")
        for step in finished.steps:
            page.locator(f'[data-testid="rf__node-step/{step}"]').wait_for()
        for name, step in artifacts.items():
            kind = "h1, h2, table" if name in TEXT_ONLY else "iframe" if name in HTML else "img"
            drawn = open_visualization(page, run_page, step, name, kind)
            if kind == "img":
                size = drawn.evaluate("async i => { await i.decode(); return i.naturalWidth }")
                assert size > 100, name
        look_at_lineage(page, finished, run_page)
        look_at_lineage_file(page, finished, run_page, tmp_path)


def look_at_lineage(page, finished, run_page):
    """The run's artifact. The dashboard runs no scripts of artifacts: there it only shows, and says what does more."""
    open_visualization(page, run_page, "draw_lineage", "lineage", "iframe")
    frame = page.get_by_role("dialog").frame_locator("iframe")
    version = f"{finished.model_version.model.name}@{finished.model_version.name}"
    assert version in frame.locator("tr[data-row]", has_text=finished.name).inner_text()
    assert frame.locator("svg").is_visible()
    assert "python -m sanaflow lineage --html" in frame.locator("noscript").inner_text()
    assert not frame.get_by_role("searchbox").is_visible()


def look_at_lineage_file(page, finished, run_page, folder):
    """The page that `make lineage` writes: its link leads to the run's page on the dashboard."""
    file = folder / "lineage.html"
    server = run_page.partition("/projects")[0]
    written = CliRunner().invoke(lineage, ["--html", str(file), "--dashboard", server])
    assert written.exit_code == 0, written.output
    page.goto(f"file://{file}")
    page.locator("tr[data-row] a", has_text=finished.name).click()
    page.locator('[data-testid="rf__node-step/train_sana"]').wait_for()
    assert page.url.startswith(run_page)
