"""Each of the 569 options of SimpleTuner 4.10.1 arrives in the settings, or is named with the reason why it doesn't."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from sanaflow.simpletuner.left_out import LEFT_OUT
from sanaflow.simpletuner.option import Kind
from sanaflow.simpletuner.sets import FALLBACKS
from sanaflow.simpletuner.taken import TAKEN
from tests.simpletuner.configurations import ENTRY, LYCORIS, SMALLEST, imported, setting, write_json

OPTIONS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("options_4_10_1.json").read_text())
OPTIMIZERS = [
    *("adamw_bf16", "adamw_schedulefree", "adamw_schedulefree+aggressive", "adamw_schedulefree+no_kahan"),
    *(f"torch-{name}" for name in ("adam", "adamw", "sgd", "radam", "nadam", "rmsprop", "adagrad", "adadelta")),
    *("torch-adafactor", "torch-adamax", "torch-asgd", "torch-sparseadam", "soap", "muon", "prodigy"),
    *(f"optimi-{name}" for name in ("stableadamw", "adamw", "lion", "radam", "ranger", "adan", "adam", "sgd")),
    *("sdnq-adamw", "sdnq-lion", "ao-adamw8bit", "ao-adamw4bit", "ao-adamfp8", "ao-adamwfp8", "deepspeed-adam"),
    *(f"bnb-{name}{bits}" for name in ("adagrad", "adam", "adamw", "lion", "ademamix") for bits in ("", "8bit")),
    *(f"bnb-{name}{bits}-paged" for name in ("adamw", "lion", "ademamix") for bits in ("", "8bit")),
]
VALUES: dict[str, list[Any]] = {
    "model_family": ["sana"],
    "model_flavour": ["sana1.5-4.8b-1024", "sana1.5-1.6b-1024", "sana1.0-1.6b-2048", "sana1.0-600m-512"],
    "data_backend_config": ["multidatabackend.json"],
    "optimizer": OPTIMIZERS,
    "optimizer_config": ["weight_decay=0.1,kahan_sum=true"],
    "lycoris_config": ["lycoris.json"],
    "peft_lora_target_modules": ['["to_q"]', ["to_q", "to_k"], "to_q,to_k"],
    "user_prompt_library": ["library.json"],
    "validation_resolution": ["512", "1024x1024,1280x768", "1", 1024],
    "report_to": ["none", "tensorboard", "wandb", "all", "comet_ml", "wandb,tensorboard"],
    "pretrained_evaluation_model_name_or_path": ["openai/clip-vit-large-patch14-336", "someone/else"],
    "hub_model_id": ["me/mine"],
    "max_grad_norm": [0, 0.5, 2],
    "dynamo_backend": OPTIONS["dynamo_backend"]["choices"],
}
"""What is tried where any text or number won't do, or becomes another: test_importing.py says what it becomes."""
NEEDS: dict[str, dict[str, Any]] = {
    **{key: {"model_type": "lora"} for key in ("lora_rank", "lora_alpha", "lora_dropout", "use_dora")},
    **{"lora_type": {"model_type": "lora"}, "peft_lora_target_modules": {"model_type": "lora"}},
    "lycoris_config": {"model_type": "lora", "lora_type": "lycoris"},
    "base_model_precision": {"model_type": "lora"},
    **{key: {"lr_scheduler": "polynomial", "learning_rate": 1.0} for key in ("lr_end", "lr_power")},
    **{key: {"hub_model_id": "me/mine", "push_to_hub": True} for key in ("push_to_hub", "push_checkpoints_to_hub")},
    "num_train_epochs": {"max_train_steps": 0},
    "caption_strategy": {"instance_prompt": "a cat"},
    "prepend_instance_prompt": {"instance_prompt": "a cat"},
    "only_instance_prompt": {"instance_prompt": "a cat"},
    **{"maximum_image_size": {"target_downsample_size": 2}, "resolution_type": {"resolution": 1}},
}
"""Options that mean nothing alone."""


@pytest.fixture(autouse=True)
def _working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_json("lycoris.json", LYCORIS)
    write_json("library.json", {"cat": "a cat"})


def tried(name: str) -> list[Any]:
    option = OPTIONS[name]
    if name in VALUES:
        return VALUES[name]
    if choices := option.get("choices"):
        return [choice for choice in choices if choice != ""]  # as if the option weren't there
    return {
        "bool": [True, False, "true", "false"],
        "int": [2, "2"],
        "float": [0.5, "0.5"],
        "str": [option.get("default") or "something"],
    }[option["type"]]


def same(found: Any, value: Any) -> bool:
    """Whether two are equal as text or numbers; an underscore may be missing, as in 'instanceprompt'."""
    try:
        return float(found) == float(value)
    except ValueError:
        return str(found).lower().replace("_", "") == str(value).lower().replace("_", "")


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_arrives_or_is_named_with_its_reason(name):
    for value in tried(name):
        options = SMALLEST | NEEDS.get(name, {}) | ({name: value} if name != "model_family" else {})
        if name == "model_flavour":
            del options["pretrained_model_name_or_path"]
        if name == "caption_strategy" and value == "parquet":
            draft, run = imported(options, ENTRY | {"parquet": {"path": "table.parquet"}})
        else:
            draft, run = imported(options)
        if name in FALLBACKS and draft.has(name):
            assert same(getattr(run.datasets[0], name), value)
        elif draft.has(name):
            line = draft.lines[TAKEN[name].key]
            found = setting(run, TAKEN[name].key)
            assert line.option == name
            if name not in ("lycoris_config", "user_prompt_library"):  # paths: what their files hold arrives
                assert found == (tuple(line.value) if isinstance(line.value, list) else line.value)
            if not line.why and name not in VALUES:
                assert same(found, value)
        else:
            reason = draft.left_out[name]
            assert reason.why and reason.kind in get_args(Kind)
        if name == "lycoris_config":
            assert run.training.lycoris_config == LYCORIS
        if name == "user_prompt_library":
            assert run.validation.user_prompt_library == {"cat": "a cat"}


def test_every_option_is_in_one_table():
    tables = [set(TAKEN), set(FALLBACKS), OPTIONS.keys() & LEFT_OUT.keys()]
    assert set.union(*tables) == OPTIONS.keys()
    assert sum(map(len, tables)) == len(OPTIONS) == 569


OTHERWISE = {
    "validation_resolution": "said in a comment",
    "adam_epsilon": "the optimizer's own",
    "lr_scheduler": "without warm-up both are constant",
    **dict.fromkeys(("tracker_run_name", "tracker_project_name"), "a name of ours, where nothing is sent"),
    **dict.fromkeys(("num_eval_images", "eval_timesteps"), "there the measurement breaks training off"),
    **dict.fromkeys(("text_encoder_batch_size", "vae_batch_size"), "the result is the same"),
    **dict.fromkeys(("lr_power", "lr_end"), "of polynomial"),
    **dict.fromkeys(("lora_dropout", "lora_type", "lycoris_config"), "of an adapter"),
    **{"ema_device": "of a moving average", "flow_schedule_shift": "null is 3.0", "output_dir": "the artifact store"},
    **{"optimizer": "said in a comment", "pretrained_evaluation_model_name_or_path": "open_clip's name of it"},
    **{"dynamo_backend": "false", "push_to_hub": "without a repository nothing is pushed", "adam_beta1": "null is 0.9"},
    "num_train_epochs": "the smallest configuration says the steps",
}
"""Why a run without the option has another value than SimpleTuner's default."""


def test_what_is_not_said_is_as_in_simpletuner_or_there_is_a_reason():
    draft, run = imported(SMALLEST)
    differ = {
        name
        for name, taken in TAKEN.items()
        if (default := OPTIONS[name].get("default")) is not None and setting(run, taken.key) != default
    }
    assert differ == OTHERWISE.keys()
    assert all(draft.lines[TAKEN[name].key].why for name, why in OTHERWISE.items() if why == "said in a comment")
