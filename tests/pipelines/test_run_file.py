from pathlib import Path

import pytest
import yaml

from pipelines.finetune import finetune
from pipelines.run_file import check_run_file
from sanaflow.errors import InputError
from sanaflow.run_yaml import parse_run_settings, read_yaml
from tests.environment import PROJECT

GOOD = {
    "parameters": {
        "model": {"pretrained_model_name_or_path": "some/model"},
        "datasets": [{"id": "a", "instance_data_dir": "x"}],
    }
}


@pytest.fixture
def mistakes(tmp_path):
    def check(**top) -> str:
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(GOOD | top))
        with pytest.raises(InputError) as caught:
            check_run_file(str(path))
        return caught.value.message.replace(str(path), "run.yaml")

    return check


STACKS = sorted(PROJECT.glob("configs/stacks/*.yaml"))
OF_ANOTHER_STACK = PROJECT / "configs/kubernetes.yaml"
RUNS = sorted({*PROJECT.glob("configs/**/*.yaml")} - {*STACKS, OF_ANOTHER_STACK})


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.name)
def test_every_configuration_in_the_repository_is_good(path):
    assert check_run_file(str(path)).datasets


def test_the_run_for_a_cluster_is_refused_on_a_stack_that_has_none_and_its_parameters_are_good():
    with pytest.raises(InputError, match=r"'steps\.train_sana\.step_operator' is set, but the active stack has none"):
        check_run_file(str(OF_ANOTHER_STACK))
    content = read_yaml(OF_ANOTHER_STACK)
    assert parse_run_settings(content["parameters"], source=OF_ANOTHER_STACK).datasets


@pytest.mark.parametrize("path", STACKS, ids=lambda p: p.name)
def test_every_stack_has_an_orchestrator_and_an_artifact_store(path):
    assert {"orchestrator", "artifact_store"} <= yaml.safe_load(path.read_text())["components"].keys()


@pytest.mark.parametrize(
    ("top", "line"),
    [
        ({"enable_cach": False}, "run.yaml: unknown key 'enable_cach': did you mean 'enable_cache'?"),
        ({"steps": {"train_sna": {}}}, "run.yaml: unknown step 'train_sna' in 'steps': did you mean 'train_sana'?"),
        (
            {"steps": {"train_sana": {"step_operater": "gpu"}}},
            "run.yaml: unknown key 'step_operater' in 'steps.train_sana': did you mean 'step_operator'?",
        ),
        (
            {"settings": {"dockr": {}}},
            "run.yaml: unknown key 'dockr' in 'settings': did you mean 'docker'? (as the active stack has it)",
        ),
        (
            {"settings": {"docker": {"requirments": []}}},
            "run.yaml: unknown key 'requirments' in 'settings.docker': did you mean 'requirements'?",
        ),
        (
            {"steps": {"train_sana": {"settings": {"resources": {"gpu_cout": 1}}}}},
            "run.yaml: unknown key 'gpu_cout' in 'steps.train_sana.settings.resources': did you mean 'gpu_count'?",
        ),
        ({"steps": ["train_sana"]}, "run.yaml: 'steps' should be a mapping from step names to their settings"),
        ({"steps": {"train_sana": 3}}, "run.yaml: 'steps.train_sana' should be a mapping of the step's settings"),
        ({"settings": 3}, "run.yaml: 'settings' should be a mapping"),
        (
            {"steps": {"train_sana": {"step_operator": "gpu"}}},
            "run.yaml: 'steps.train_sana.step_operator' is set, but the active stack has none: "
            "`zenml stack set` one that has",
        ),
        (
            {"environment": {"HF_TOKEN": "hf_x"}},
            "run.yaml: 'environment.HF_TOKEN': a secret doesn't belong into a YAML: "
            "use the environment or ZenML's secrets",
        ),
        ({"retry": {"max_retrys": 1}}, "run.yaml: unknown key 'max_retrys' in 'retry': did you mean 'max_retries'?"),
    ],
)
def test_an_unknown_key_anywhere_gets_the_nearest_known_one(mistakes, top, line):
    assert mistakes(**top) == line


def test_a_value_of_the_wrong_kind_is_named(mistakes):
    assert "run.yaml: 'enable_cache': Input should be a valid boolean" in mistakes(enable_cache="maybe")


def test_parameters_of_a_step_belong_to_the_top(mistakes):
    message = mistakes(steps={"train_sana": {"parameters": {"training": {}}}})
    assert "'steps.train_sana.parameters' has no effect: put its sections under the top-level 'parameters'" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: [", "is not YAML"),
        ("parameters: {}\nparameters: {}", "is not YAML: the key 'parameters' is there twice"),
        ("", "has no section 'parameters'"),
        ("just text", "has no section 'parameters'"),
        ("parameters: 3", "has no section 'parameters'"),
    ],
)
def test_what_is_no_run_file_is_refused(tmp_path, text, message):
    path: Path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"{path}: {message}"):
        check_run_file(str(path))


def test_the_pipeline_itself_checks_its_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"parameters": GOOD["parameters"] | {"trainig": {}}}))
    with pytest.raises(InputError, match="unknown key 'trainig' in 'parameters': did you mean 'training'"):
        finetune.with_options(config_path=str(path))
