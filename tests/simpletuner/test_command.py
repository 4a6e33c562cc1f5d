"""`python -m sanaflow import-simpletuner`: the files it reads, what it writes and says, and what it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sanaflow.config import RunSettings
from sanaflow.run_yaml import parse_run_settings, read_yaml
from sanaflow.simpletuner.command import import_simpletuner
from tests.simpletuner.configurations import ENTRY, SMALLEST, write_json

CONFIG_ENV = """#!/bin/bash
export MODEL_TYPE='full'
export MODEL_FAMILY=sana   # the family
export MODEL_NAME="some/sana"
export RESOLUTION=512
export MINIMUM_RESOLUTION=$RESOLUTION
BASE_DIR="data"
export DATALOADER_CONFIG="${BASE_DIR}/sets.json"
export MAX_NUM_STEPS=200
export NUM_EPOCHS=0
export CURRENT_TIME=$(date +%s)
export LEARNING_RATE=1e-5 #@param {type:"number"}
export LEARNIG_RATE=1e-5
export HF_TOKEN=hf_sesame
export ALLOW_TF32=true
export TRAINER_EXTRA_ARGS="--use_ema --lr_end=1e-8"
export TRAINER_EXTRA_ARGS="${TRAINER_EXTRA_ARGS} --validation_prompt='a cat' --ema_decay 0.9"
"""


@pytest.fixture(autouse=True)
def _working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json("multidatabackend.json", [ENTRY])


def run(*arguments: str) -> Result:
    return CliRunner().invoke(import_simpletuner, [*arguments, "-o", "mine.yaml"], catch_exceptions=False)


def written() -> RunSettings:
    return parse_run_settings(read_yaml("mine.yaml")["parameters"], source="mine.yaml")


def test_the_yaml_says_what_it_is_what_changed_and_what_is_left_out():
    write_json("config.json", SMALLEST | {"base_model_precision": "int8-quanto", "learning_rte": 1, "logging_dir": "x"})
    said = run("config.json")
    text = Path("mine.yaml").read_text()
    assert said.exit_code == 0
    assert text.startswith("# Imported from SimpleTuner's config.json and multidatabackend.json")
    assert "# zenml pipeline run pipelines.finetune.finetune -c mine.yaml\nparameters:\n" in text
    assert "    # weights in few bits ('int8-quanto') can't be trained: they stay whole, in more memory\n" in text
    assert "    learning_rate: 4.0e-07 # SimpleTuner's default, very low for Sana" in text
    for place in (said.output, text):
        assert "learning_rte: did you mean 'learning_rate'?" in place
        assert "logging_dir: the curves are an artifact" in place
    assert said.output.startswith("mine.yaml: 6 keys taken over, 1 with a comment")
    assert all(len(line) <= 120 for line in text.splitlines())
    assert written().training.max_train_steps == 100


def test_a_script_gets_the_same_as_json():
    write_json("config.json", SMALLEST | {"seed": 3, "controlnet": True, "mixed_precision": "fp8"})
    told = json.loads(run("config.json", "--json").output)
    assert told["taken_over"]["seed"] == ["training.seed"]
    assert told["taken_over"]["datasets[set].instance_data_dir"] == ["datasets.0.instance_data_dir"]
    assert told["changed"]["training.mixed_precision"]["value"] == "bf16"
    assert told["defaults"]["training.checkpoints_total_limit"]["value"] == 5
    assert told["left_out"]["controlnet"]["kind"] == "missing"


def test_variables_of_the_shell_are_understood_as_simpletuner_does():
    write_json("data/sets.json", [ENTRY])
    Path("config.env").write_text(CONFIG_ENV)
    said = run("config.env")
    found = written()
    assert (found.training.max_train_steps, found.training.learning_rate) == (200, 1e-5)
    assert (found.training.use_ema, found.training.ema_decay) == (True, 0.9)
    assert found.validation.validation_prompt == "a cat"
    assert (found.datasets[0].resolution, found.datasets[0].minimum_image_size) == (512, 512)
    assert "LEARNIG_RATE: did you mean 'LEARNING_RATE'?" in said.output
    assert "BASE_DIR, CURRENT_TIME: a variable of the shell that is no option" in said.output
    assert "HF_TOKEN: put it into the environment" in said.output


def test_toml_and_json_with_comments_are_read():
    Path("config.toml").write_text('model_family = "sana"\nmodel_flavour = "sana1.0-600m-512"\nseed = 5\n')
    assert run("config.toml").exit_code == 0
    assert written().model.pretrained_model_name_or_path == "Efficient-Large-Model/Sana_600M_512px_diffusers"
    Path("config.json").write_text('{\n  // mine\n  "model_family": "sana",\n  "seed": "6",\n}\n')
    assert run("config.json", "--force").exit_code == 0
    assert written().training.seed == 6


def test_no_secret_is_written_or_said():
    secrets = {"hub_token": "sesame", "webhook_config": '{"webhook_url": "https://example.com/sesame"}'}
    keys = {"aws_access_key_id": "sesame", "aws_secret_access_key": "sesame", "aws_bucket_name": "pictures"}
    write_json("multidatabackend.json", [{"id": "set", "type": "aws", **keys}])
    write_json("config.json", SMALLEST | secrets)
    for flag in ("--force", "--json"):
        said = run("config.json", "--force", flag)
        assert said.exit_code == 0
        assert "sesame" not in said.output + Path("mine.yaml").read_text()


def test_a_file_that_is_there_is_only_written_over_by_force():
    write_json("config.json", SMALLEST)
    Path("mine.yaml").write_text("precious")
    refused = run("config.json")
    assert (refused.exit_code, Path("mine.yaml").read_text()) == (1, "precious")
    assert "mine.yaml: is there already: name another file, or say --force" in refused.output
    assert run("config.json", "--force").exit_code == 0
    assert sorted(path.name for path in Path().iterdir()) == ["config.json", "mine.yaml", "multidatabackend.json"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model_family": "flux"}, "config.json: model_family 'flux': Sanaflow trains Sana alone"),
        ({"model_family": None, "pretrained_model_name_or_path": "some/flux"}, "names neither 'model_family'"),
        ({"model_flavour": "sana9", "pretrained_model_name_or_path": ""}, "'model_flavour' 'sana9' is no flavour"),
        ({"num_train_epochs": 2}, "'num_train_epochs' and 'max_train_steps' are both more than 0"),
        ({"max_train_steps": 0, "num_train_epochs": 0}, "is 0, and so is 'num_train_epochs'"),
        ({"optimizer": "adamw_bf61"}, "'optimizer' 'adamw_bf61' is no optimizer of SimpleTuner's: did you mean"),
        ({"lr_scheduler": "cosin"}, "'lr_scheduler' should be 'constant', 'constant_with_warmup'"),
        ({"train_batch_size": "four"}, "'train_batch_size' should be a valid integer"),
        ({"train_batch_size": 0}, "'train_batch_size' should be greater than 0 (it is 0)"),
        ({"use_ema": "perhaps"}, "'use_ema' should be true or false"),
        ({"validation_resolution": "10x"}, "'validation_resolution' '10x' is no size"),
        ({"user_prompt_library": "none.json"}, "'user_prompt_library' the file 'none.json' is neither there from"),
        ({"model_type": "lora", "lora_type": "lycoris", "lycoris_config": "no.json"}, "the file 'no.json' is neither"),
        ({"data_backend_config": "sets.json"}, "data_backend_config 'sets.json' is neither there"),
        ({"--seed": 1, "seed": 2}, "'seed' says another thing than the same option before"),
        ({"learning_rate": "nan"}, "'learning_rate' should be greater than 0"),
    ],
    ids=str,
)
def test_what_can_not_be_resolved_ends_in_one_line(options, said):
    write_json("config.json", SMALLEST | options)
    refused = run("config.json")
    assert refused.exit_code == 1
    assert said in refused.output
    assert refused.output.count("\n") == 1
    assert not Path("mine.yaml").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "config.json: is not JSON"),
        (b"", "config.json: is neither JSON, TOML nor a file of variables"),
        (b"[]", "should be an object of options"),
        (b"\xff\xfe", "config.json: is not UTF-8 text"),
        (b"[" * 100_000, "is nested too deeply"),
    ],
    ids=["cut", "empty", "list", "binary", "deep"],
)
def test_a_file_that_is_no_configuration_is_refused(content, said):
    Path("config.json").write_bytes(content)
    refused = run("config.json")
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert said in refused.output


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"id": "set"}, "should be a list of datasets"),
        (["set"], "other.json: the dataset at place 1 should be an object"),
        ([{"instance_data_dir": "x"}], "'parameters.datasets.0.id' is missing"),
        ([], "there is no dataset to train on"),
        ([ENTRY, ENTRY], "the id 'set' is used more than once"),
        (
            [ENTRY | {"type": "webshart"}],
            "no dataset is left to train on; datasets[set]: there is no type 'webshart' here",
        ),
    ],
    ids=str,
)
def test_datasets_that_can_not_be_used_are_refused(entries, said):
    write_json("config.json", SMALLEST)
    write_json("other.json", entries)
    refused = run("config.json", "--datasets", "other.json")
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert said in refused.output
