import pytest

from sanaflow.config import TrainingSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.run_yaml import parse_run_settings

SMALLEST = {
    "model": {"pretrained_model_name_or_path": "some/model"},
    "datasets": [{"id": "a", "instance_data_dir": "pictures"}],
}


def mistakes(**sections) -> str:
    with pytest.raises(InputError) as caught:
        parse_run_settings(SMALLEST | sections, source="run.yaml")
    return caught.value.message


def test_the_smallest_run_gets_the_documented_defaults():
    run = parse_run_settings(SMALLEST, source="run.yaml")
    assert run.training.flow_schedule_shift is None
    assert run.training.caption_dropout_probability == 0.1
    assert run.caches.tokenizer_max_length == 300
    assert run.datasets[0].resolution == 1024


def test_an_unknown_key_names_file_section_and_the_nearest_known_key():
    message = mistakes(training={"learning_rte": 1})
    assert message == "run.yaml: unknown key 'learning_rte' in 'parameters.training': did you mean 'learning_rate'?"


def test_an_unknown_key_inside_a_dataset_is_found():
    message = mistakes(datasets=[{"id": "a", "instance_data_dir": "x", "resoluton": 512}])
    assert "unknown key 'resoluton' in 'parameters.datasets.0': did you mean 'resolution'?" in message


def test_an_unknown_section_is_found():
    assert "unknown key 'trainig' in 'parameters': did you mean 'training'?" in mistakes(trainig={})


def test_every_mistake_gets_its_line():
    message = mistakes(training={"max_train_steps": 0, "seed": "x"})
    assert [line.split(":")[1].strip() for line in message.splitlines()] == [
        "'parameters.training.max_train_steps'",
        "'parameters.training.seed'",
    ]


def test_a_missing_section_is_named():
    with pytest.raises(InputError, match=r"'parameters\.datasets' is missing"):
        parse_run_settings({"model": SMALLEST["model"]}, source="run.yaml")


@pytest.mark.parametrize(
    ("training", "keys"),
    [
        (
            {"flow_schedule_shift": 3, "flow_schedule_auto_shift": True},
            ("flow_schedule_shift", "flow_schedule_auto_shift"),
        ),
        ({"lr_warmup_steps": 5}, ("lr_warmup_steps", "lr_scheduler")),
        (
            {"lr_scheduler": "cosine", "lr_warmup_steps": 50, "max_train_steps": 10},
            ("lr_warmup_steps", "max_train_steps"),
        ),
    ],
)
def test_contradictions_name_both_keys(training, keys):
    message = mistakes(training=training)
    assert all(key in message for key in keys)


def test_two_datasets_with_one_id_are_refused():
    assert "'a' is used more than once" in mistakes(datasets=[{"id": "a", "instance_data_dir": "x"}] * 2)


def test_instanceprompt_needs_its_prompt():
    dataset = {"id": "a", "instance_data_dir": "x", "caption_strategy": "instanceprompt"}
    assert "needs 'instance_prompt'" in mistakes(datasets=[dataset])


def test_a_blank_evaluation_prompt_is_refused():
    assert "none of them blank" in mistakes(evaluation={"evaluation_prompts": ["a cat", " "]})


def test_settings_survive_being_stored_as_json():
    run = parse_run_settings(SMALLEST | {"training": {"flow_schedule_auto_shift": True}}, source="run.yaml")
    assert type(run).model_validate_json(run.model_dump_json()) == run


def test_a_release_inside_the_pictures_is_refused():
    message = mistakes(publishing={"release_dir": "pictures/out"})
    assert "'publishing.release_dir' (pictures/out) lies in dataset 'a'" in message


def test_a_validation_size_that_can_not_be_drawn_is_refused():
    said = mistakes(validation={"validation_resolution": 100})
    assert "validation_resolution': '100': edges should be multiples of 32" in said
    assert "'10x' is no size" in mistakes(validation={"validation_resolution": "1024x1024,10x"})
    sizes = ValidationSettings(validation_resolution="1024x1024, 1280X768,512").sizes(64)
    assert sizes == [(1024, 1024), (1280, 768), (512, 512)]
    assert ValidationSettings().sizes(64) == [(64, 64)]


def test_a_prompt_library_may_be_a_file(tmp_path):
    file = tmp_path / "library.json"
    file.write_text('{"cat": "a cat"}')
    settings = ValidationSettings(user_prompt_library=str(file), validation_prompt="a dog")
    assert settings.prompts() == {"cat": "a cat", "validation": "a dog"}
    assert ValidationSettings.model_validate_json(settings.model_dump_json()) == settings
    file.write_text("[]")
    assert "should be a valid dictionary" in mistakes(validation={"user_prompt_library": str(file)})
    assert "can't be read (No such file" in mistakes(validation={"user_prompt_library": str(tmp_path / "none.json")})
    assert "can't be a prompt's name" in mistakes(validation={"user_prompt_library": {"../x": "a cat"}})


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"base_model_precision": "nf4-bnb"}, "weights in 8 or 4 bits can't take the small changes of training"),
        ({"lora_rank": 4}, "'lora_rank' is for model_type 'lora'"),
        ({"model_type": "lora", "lora_rank": 4}, "'lora_rank' is for lora_type 'standard'"),
        (
            {"model_type": "lora", "lora_type": "standard", "lycoris_config": {"algo": "lokr"}},
            "for lora_type 'lycoris'",
        ),
        ({"model_type": "lora", "from_scratch": True}, "'from_scratch' and model_type 'lora'"),
        ({"transformer_config": {"num_layers": 2}}, "'transformer_config' is for from_scratch"),
        ({"base_model_default_dtype": "bf16", "mixed_precision": "no"}, "needs mixed_precision 'bf16'"),
        ({"base_model_default_dtype": "bf16"}, "loses updates to rounding"),
        ({"model_type": "lora", "fsdp_enable": True}, "'fsdp_enable' is for model_type 'full'"),
        ({"fsdp_enable": True, "optimizer": "bnb-adamw8bit"}, "which needs whole weights"),
        ({"fsdp_enable": True, "optimizer": "adafactor"}, "which needs whole weights"),
        ({"fsdp_enable": True, "use_ema": True, "ema_device": "cpu"}, "the average is split already"),
        ({"num_train_epochs": 2, "max_train_steps": 5}, "'max_train_steps' is for no 'num_train_epochs'"),
        ({"flow_use_uniform_schedule": True, "flow_use_beta_schedule": True}, "contradict each other"),
        ({"lr_scheduler": "polynomial", "lr_end": 1.0}, "isn't below 'learning_rate'"),
        ({"optimizer": "optimi-adamv"}, "optimizer': should be"),
        ({"lycoris_config": "/nowhere.json"}, "'/nowhere.json' can't be read (No such file"),
    ],
)
def test_contradictions_of_training_name_the_way_out(training, said):
    assert said in mistakes(training=training)


def test_epochs_survive_being_stored_as_json():
    settings = TrainingSettings(num_train_epochs=3)
    assert TrainingSettings.model_validate_json(settings.model_dump_json()) == settings


def test_a_home_folder_that_is_none_is_no_stack_trace():
    publishing = {"release_dir": "~nobodyatall/release"}
    run = parse_run_settings(SMALLEST | {"publishing": publishing}, source="run.yaml")
    assert run.publishing.release_dir == "~nobodyatall/release"
