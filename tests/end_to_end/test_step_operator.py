"""Steps that run elsewhere: `train_sana` through ZenML's entry point in a process of its own, chosen by YAML alone."""

import json
import shutil
from pathlib import Path
from uuid import UUID

import pytest
import torch
from zenml.client import Client
from zenml.enums import ExecutionStatus, StackComponentType

from materializers.shards import shard_store
from pipelines.finetune import finetune
from pipelines.prepare import prepare
from sanaflow.cache.reading import LatentReader
from sanaflow.errors import InputError
from tests.end_to_end.process_step_operator import ProcessStepOperator
from tests.environment import PROJECT

HERE = "tests.end_to_end.process_step_operator.ProcessStepOperatorFlavor"


@pytest.fixture(scope="module")
def gpu_stack():
    """The default stack with a step operator of the flavor `process`."""
    client = Client()
    stack = client.active_stack_model
    client.create_flavor(source=HERE, component_type=StackComponentType.STEP_OPERATOR)
    operator = client.create_stack_component("gpu", "process", StackComponentType.STEP_OPERATOR, configuration={})
    components = {kind: parts[0].id for kind, parts in stack.components.items()}
    made = client.create_stack("with-gpu", components | {StackComponentType.STEP_OPERATOR: operator.id})
    client.activate_stack(made.id)
    yield
    client.activate_stack(stack.id)
    client.delete_stack(made.id)


def test_a_step_operator_named_in_the_yaml_trains_in_its_own_process(gpu_stack, write_run, tmp_path):
    settings = {"step_operator": {"cuda_visible_devices": "7"}}
    steps = {"train_sana": {"step_operator": "gpu", "settings": settings}}
    finished = finetune.with_options(config_path=str(write_run({"steps": steps}, training={"seed": 77})))()
    assert finished.status == ExecutionStatus.COMPLETED
    step_id = str(finished.steps["train_sana"].id)
    assert list(ProcessStepOperator.processes) == [step_id]  # this step and no other ran there
    command = ProcessStepOperator.processes[step_id].args
    assert "zenml.step_operators.step_operator_entrypoint_configuration" in " ".join(command)
    tuned = finished.steps["train_sana"].outputs["tuned_model"][0].load()
    assert tuned.settings["seed"] == 77
    release = json.loads((tmp_path / "release/manifest.json").read_text())
    assert Path(tuned.folder, "diffusion_pytorch_model.safetensors").is_file()
    assert "transformer/diffusion_pytorch_model.safetensors" in release["files"]


def test_a_users_mistake_found_there_is_one_line_here(gpu_stack, write_run, monkeypatch):
    steps = {"train_sana": {"step_operator": "gpu"}}
    never_shown = [{"id": "set", "instance_data_dir": "assets/pictures", "resolution": 64, "probability": 0}]
    monkeypatch.chdir(PROJECT)
    with pytest.raises(InputError, match="every dataset has 'probability: 0'"):
        finetune.with_options(config_path=str(write_run({"steps": steps}, datasets=never_shown)))()


def test_encoding_fans_out_into_steps_that_each_run_elsewhere_and_gives_the_same(gpu_stack, write_run, pictures):
    def cache_of(run):
        assert run.status == ExecutionStatus.COMPLETED
        cache = run.steps["merge_latents"].outputs["latent_cache"][0].load()
        reader = LatentReader(cache)
        return cache, [reader.batch([position])[0] for position in range(len(cache.entries))]

    shutil.rmtree(shard_store("latents").folder, ignore_errors=True)
    one, alone = cache_of(prepare.with_options(config_path=str(write_run()))())
    shutil.rmtree(shard_store("latents").folder)
    ProcessStepOperator.processes.clear()
    steps = {"encode_latents": {"step_operator": "gpu"}}
    run = prepare.with_options(config_path=str(write_run({"steps": steps}, caches={"encode_workers": 3})))()
    three, together = cache_of(run)
    names = {"encode_latents", "encode_latents_2", "encode_latents_3"}
    assert {run.steps[name].id for name in names} == {UUID(key) for key in ProcessStepOperator.processes}
    encoded = [run.steps[name].outputs["encoded_latents"][0].load().encoded for name in names]
    assert sum(encoded) == three.encoded == one.encoded == 5
    assert max(encoded) < 5
    assert one.digest() == three.digest()
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
