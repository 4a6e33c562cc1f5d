"""`python -m sanaflow fit` for programs."""

import json

import pytest
import yaml
from click.testing import CliRunner

from sanaflow.training.fit import fit
from tests.environment import PROJECT, SMALL_SANA

DATASETS = [
    {"id": "a", "instance_data_dir": "pictures", "resolution": 512},
    {"id": "words", "dataset_type": "text_embeds"},
    {"id": "b", "instance_data_dir": "pictures", "disabled": True},
]


@pytest.fixture
def run_yaml(tmp_path):
    parameters = {"model": {"pretrained_model_name_or_path": str(SMALL_SANA)}, "datasets": DATASETS}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"parameters": parameters}))
    return tmp_path / "run.yaml"


@pytest.mark.parametrize(("memory", "fits"), [(24, True), (1.5, False)])
def test_json_says_what_the_text_says(run_yaml, memory, fits):
    ended = CliRunner().invoke(fit, [str(run_yaml), "--memory", str(memory), "--json"])
    found = json.loads(ended.stdout)
    assert ended.exit_code == (0 if fits else 1) and found["fits"] is fits
    assert found["latents"] == [64, 64], "entries that aren't trained on don't count"
    assert any(way["fits"] for way in found["ways"]) is not fits
    words = CliRunner().invoke(fit, [str(run_yaml), "--memory", str(memory)]).output
    assert f"{found['bytes']['total'] / 2**30:.2f} GiB" in words
    assert all(way["training"] in words for way in found["ways"])


def test_without_a_gpu_it_says_which_memory_it_takes():
    said = CliRunner().invoke(fit, [str(PROJECT / "configs" / "demo.yaml")]).output
    assert "no --memory was given: 24 GiB is taken" in said
