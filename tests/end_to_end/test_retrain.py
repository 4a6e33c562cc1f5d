"""Retraining: unchanged, better, worse. Real scores on the bundled model decide."""

import json
import shutil
import uuid

import pytest
from zenml.client import Client

from pipelines.retrain import retrain
from sanaflow.errors import InputError
from sanaflow.lineage.text import chain, versions_table
from steps.lineage.reader import read_records
from tests.end_to_end.browsing import CHROMIUM, browser_page, dashboard, open_visualization
from tests.end_to_end.test_finetune import ALWAYS, artifact, ran, run
from tests.environment import PROJECT, SANA_TINY
from tests.servers.loopback import LoopbackHandler, LoopbackServer
from tests.training.test_learning import BUDGET, DRAWN, NEW


@pytest.fixture
def learned(tmp_path, write_run):
    """Trains the bundled model on eight things that it has never seen, and decides."""
    folder = tmp_path / "new"
    folder.mkdir()
    for name in NEW:
        shutil.copy(PROJECT / "assets/fruit-and-vegetables" / f"{name}.webp", folder)
    dataset = {"id": "new", "instance_data_dir": str(folder), "resolution": 128, "repeats": 7}
    model = {"name": f"promotion-{uuid.uuid4().hex[:8]}"}

    def train(**training):
        path = write_run(
            {"model": model},
            model={"pretrained_model_name_or_path": str(SANA_TINY)},
            datasets=[dataset, dataset | {"id": "learned", "dataset_type": "eval"}],
            training=BUDGET | training,
            validation={"validation_prompt": None, "eval_timesteps": 2},
            evaluation={"evaluation_model": "packaged", "evaluation_prompts": list(NEW), **DRAWN},
            promotion={"promote_to": "production"},
            notifications={"webhook_secret": "TEAM_WEBHOOK"},
        )
        return run(path, retrain)

    return model["name"], train


def decision(finished):
    return artifact(finished, "decide_promotion", "promotion_decision").load()


def in_production(name: str) -> str:
    return Client().get_model_version(name, "production").get_artifact("tuned_model").load().digest()


class Webhook(LoopbackHandler):
    def do_POST(self) -> None:
        self.owner.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def told(monkeypatch):
    """What the team was told."""
    with LoopbackServer(Webhook) as server:
        server.told = []
        monkeypatch.setenv("TEAM_WEBHOOK", f"{server.url}/secret-path")
        yield server.told


def test_a_better_model_is_promoted_nothing_new_leaves_no_trace_and_a_worse_one_is_refused(learned, told, capsys):
    name, train = learned
    better = train()
    assert decision(better).promote, decision(better).reason()
    assert decision(better).against == "base"
    champion = artifact(better, "train_sana", "tuned_model").load()
    assert in_production(name) == champion.digest()
    assert len(told) == 1 and f"Model '{name}', version 1, is trained and promoted to production" in told[0]

    again = train()
    assert ran(again) == ALWAYS
    assert not decision(again).promote
    assert "has these very weights" in decision(again).reason()
    said = capsys.readouterr().out
    assert "nothing new: these weights are version 1" in said and "secret-path" not in said
    assert [version.name for version in Client().list_model_versions(model=name)] == ["1"]
    assert len(told) == 1, "of nothing, nobody is told"

    worse = train(learning_rate=0.2)
    rules = decision(worse).rules.set_index("rule")
    assert not decision(worse).promote
    assert decision(worse).against == "champion"
    assert not rules.at["min_clip_gain, significant", "holds"]
    assert not rules.at["max_eval_loss_increase", "holds"]
    assert in_production(name) == champion.digest()
    assert "version 2, is trained and not promoted to production" in told[1]
    versions = Client().list_model_versions(model=name)
    assert len(versions) == 2, "every trained model is a version, with its scores and its decision"
    for version in versions:
        assert {"clip_scores", "held_out_loss", "promotion_decision", "latent_cache"} <= set(version.data_artifacts)
    if CHROMIUM:
        assert on_the_dashboard(better, again, worse) == [
            ("lucide-circle-check", "Promoted to production"),
            ("lucide-archive", "Not promoted to production"),  # what is from the cache has this icon
            ("lucide-circle-check", "Not promoted to production"),
        ]


def on_the_dashboard(*finished) -> list[tuple[str, str]]:
    """Of each run the icon at its training, and the head of its decision."""
    seen = []
    with dashboard() as last_run, browser_page() as page:
        for one in finished:
            address = f"{last_run.rpartition('/')[0]}/{one.id}"
            head = open_visualization(page, address, "decide_promotion", "promotion_decision", "h1").inner_text()
            icon = page.locator('[data-testid="rf__node-step/train_sana"] svg').first.get_attribute("class")
            seen.append((next(name for name in icon.split() if name.startswith("lucide-")), head))
    return seen


def test_training_goes_on_from_the_champion_once_the_data_change(write_run, pictures):
    model = {"name": f"going-on-{uuid.uuid4().hex[:8]}"}

    def train():
        anyhow = {"min_clip_gain": None, "max_eval_loss_increase": None}
        return run(write_run({"model": model}, training={"start_from": "champion"}, promotion=anyhow), retrain)

    def weights(finished):
        return artifact(finished, "train_sana", "tuned_model").load()

    first, same = train(), train()
    assert weights(first).started_from is None
    assert ran(same) == ALWAYS | {"find_start"}, "the champion is what these data make: nothing is trained again"
    shutil.copy(PROJECT / "assets/pictures/umbrella.webp", pictures)
    grown, same = train(), train()
    assert weights(grown).started_from == weights(first).digest()
    assert ran(same) == ALWAYS | {"find_start"}


def test_a_run_that_failed_after_training_is_finished_by_the_next_which_tells_of_it(write_run, told):
    name = f"finished-{uuid.uuid4().hex[:8]}"

    def train(**publishing):
        anyhow = {"min_clip_gain": None, "max_eval_loss_increase": None}
        options = {"promotion": anyhow, "notifications": {"webhook_secret": "TEAM_WEBHOOK"}}
        return run(
            write_run({"model": {"name": name}}, publishing=publishing, training={"seed": 78}, **options), retrain
        )

    with pytest.raises(InputError, match="is or holds something else"):
        train(release_dir=str(PROJECT / "configs"))
    assert told == []
    train()
    [version] = Client().list_model_versions(model=name)
    assert {"tuned_model", "hub_release"} <= version.model_artifacts.keys()
    assert {"clip_scores", "promotion_decision", "latent_cache"} <= version.data_artifacts.keys()
    assert version.stage == "staging"
    assert len(told) == 1 and "version 1, is trained and promoted to staging" in told[0]
    train()
    assert len(told) == 1 and len(Client().list_model_versions(model=name)) == 1


def test_a_version_whose_run_failed_before_training_says_so(write_run, pictures):
    model = {"model": {"name": f"empty-{uuid.uuid4().hex[:8]}"}}
    without_captions = {"instance_data_dir": str(pictures), "resolution": 64, "caption_strategy": "textfile"}
    with pytest.raises(InputError, match="caption"):
        run(write_run(model, datasets=[{"id": "set", **without_captions}]))
    [record] = read_records(model=model["model"]["name"])
    assert "none: failed" in versions_table([record])
    assert chain(record, [record])["weights"] == "none: its run is failed"
