"""A model version takes the champion's place if it draws better, by real scores on the bundled model."""

import shutil
import uuid

import pytest
from zenml.client import Client

from tests.end_to_end.test_finetune import ALWAYS, artifact, ran, run
from tests.environment import PROJECT, SANA_TINY
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
        )
        return run(path)

    return model["name"], train


def decision(finished):
    return artifact(finished, "decide_promotion", "promotion_decision").load()


def in_production(name: str) -> str:
    return Client().get_model_version(name, "production").get_artifact("tuned_model").load().digest()


def test_a_better_model_is_promoted_and_a_worse_one_leaves_the_champion_in_its_place(learned):
    name, train = learned
    better = train()
    assert decision(better).promote, decision(better).reason()
    assert decision(better).against == "base"
    champion = artifact(better, "train_sana", "tuned_model").load()
    assert in_production(name) == champion.digest()

    again = train()
    assert ran(again) == ALWAYS
    assert not decision(again).promote
    assert "has these very weights" in decision(again).reason()

    worse = train(learning_rate=0.2)
    rules = decision(worse).rules.set_index("rule")
    assert not decision(worse).promote
    assert decision(worse).against == "champion"
    assert not rules.at["min_clip_gain, significant", "holds"]
    assert not rules.at["max_eval_loss_increase", "holds"]
    assert in_production(name) == champion.digest()
    versions = Client().list_model_versions(model=name)
    assert len(versions) == 3, "every run is a version, with its scores and its decision"
    for version in versions:
        assert {"clip_scores", "held_out_loss", "promotion_decision", "latent_cache"} <= set(version.data_artifacts)
