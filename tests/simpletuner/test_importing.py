"""What a SimpleTuner configuration becomes, and what is said of it."""

import importlib
import inspect
from pathlib import Path

import pytest

from sanaflow.simpletuner.files import ALGORITHMS, BESIDE
from sanaflow.simpletuner.importing import import_config
from sanaflow.simpletuner.optimizers import WITHOUT
from sanaflow.training_settings import OPTIMIZERS
from tests.simpletuner.configurations import (
    ENTRY,
    GUIDE,
    LOKR,
    LYCORIS,
    SMALLEST,
    imported,
    setting,
    write_json,
)
from tests.test_datasets import guides_entries

LORA = {"model_type": "lora"}
LYCORIS_LORA = {**LORA, "lora_type": "lycoris", "lycoris_config": "lycoris.json"}


@pytest.fixture(autouse=True)
def _working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_guides_example_trains_as_it_says():
    write_json("config/user_prompt_library.json", {"anime_<token>": "an anime portrait", "chef": "a chef"})
    draft, run = imported(GUIDE, *guides_entries("subject", "regularisation"))
    training, validation = run.training, run.validation
    assert run.model.pretrained_model_name_or_path == "terminusresearch/sana-1.6b-1024px"
    assert (training.max_train_steps, training.num_train_epochs, training.train_batch_size) == (10000, None, 1)
    assert (training.optimizer, training.base_model_default_dtype) == ("optimi-adamw", "bf16")
    assert (training.adam_beta2, training.adam_weight_decay) == (0.999, 0.01)
    assert (training.learning_rate, training.lr_end, training.lr_power) == (1e-5, 4e-7, 0.8)
    assert (training.lr_scheduler, training.lr_warmup_steps) == ("polynomial", 100)
    assert (training.max_grad_norm, training.grad_clip_method) == (2.0, "value")
    assert (training.checkpointing_steps, training.checkpoints_total_limit, training.seed) == (500, 5, 42)
    assert (training.gradient_checkpointing, training.flow_schedule_auto_shift) == (True, True)
    assert (training.use_ema, training.ema_device) == (True, "cpu")
    assert validation.prompts() == {
        "anime__token": "an anime portrait",
        "chef": "a chef",
        "validation": "A photo of a cat",
    }
    assert (validation.validation_steps, validation.validation_guidance) == (500, 5.0)
    assert validation.sizes(64) == [(1024, 1024)]
    assert (validation.report_to, validation.tracker_project_name) == ("wandb", "sana-training")
    assert (run.publishing.release_dir, run.publishing.pushed_to()) == ("output/models", None)
    assert [(d.id, d.is_aligned, d.resolution, d.repeats) for d in run.datasets] == [
        ("pseudo-camera-10k-sana", True, 512, 0),
        ("dreambooth-subject", True, 1024, 1000),
        ("dreambooth-subject-512", True, 512, 1000),
    ]
    named = {name.lstrip("-") for name in GUIDE if GUIDE[name] not in ("", None)}
    earlier = {"checkpointing_steps": "checkpoint_step_interval", "validation_steps": "validation_step_interval"}
    assert all(draft.has(n) or n in draft.left_out for n in (earlier.get(name, name) for name in named))
    assert not any(reason.kind in ("unknown", "missing") for reason in draft.left_out.values())


def test_the_lokr_example_trains_as_it_says():
    write_json("lycoris.json", LYCORIS)
    draft, run = imported(LOKR)
    training = run.training
    assert (training.model_type, training.lora_type, training.lycoris_config) == ("lora", "lycoris", LYCORIS)
    assert draft.lines["training.lycoris_config"].value == "lycoris.json"
    assert (training.optimizer, training.base_model_default_dtype) == ("torch-adamw", "bf16")
    assert (training.base_model_precision, training.quantize_via) == ("int8-bnb", "cpu")
    assert (training.ema_update_interval, training.max_grad_norm, run.caches.vae_batch_size) == (25, 1, 1)
    assert "nothing is ever deleted" in draft.left_out["delete_problematic_images"].why


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        # optimizer and precisions
        ({}, "training.optimizer", "optimi-adamw"),
        ({"mixed_precision": "no"}, "training.optimizer", "torch-adamw"),
        ({"optimizer": "torch-adamw"}, "training.base_model_default_dtype", "fp32"),
        ({"optimizer": "bnb-lion8bit-paged", **LORA}, "training.base_model_default_dtype", "bf16"),
        ({"optimizer": "torch-nadam"}, "training.optimizer", "torch-adam"),
        ({"optimizer": "adamw_schedulefree+aggressive"}, "training.optimizer", "adamw_schedulefree"),
        ({"optimizer": "ao-adamw4bit"}, "training.optimizer", "bnb-adamw8bit"),
        ({"base_model_precision": "int8-quanto", **LORA}, "training.base_model_precision", "int8-bnb"),
        ({"base_model_precision": "fp8-int4-torchao", **LORA}, "training.base_model_precision", "nf4-bnb"),
        ({"base_model_precision": "int8dq-int4-torchao", **LORA}, "training.base_model_precision", "nf4-bnb"),
        ({"base_model_precision": "uint4-sdnq", **LORA}, "training.base_model_precision", "nf4-bnb"),
        ({"base_model_precision": "int8-quanto"}, "training.base_model_precision", "no_change"),
        ({"text_encoder_1_precision": "fp8-quanto"}, "caches.text_encoder_precision", "int8-bnb"),
        ({"mixed_precision": "fp8"}, "training.mixed_precision", "bf16"),
        ({"optimizer_config": "weight_decay=0.1,kahan_sum=true"}, "training.optimizer_config",
         {"weight_decay": 0.1, "kahan_sum": True}),
        # adapters
        (LORA, "training.lora_type", "standard"),
        (LORA, "training.lora_target_modules", ("to_k", "to_q", "to_v", "to_out.0")),
        (LORA, "training.lora_dropout", 0.1),
        ({"lora_alpha": 8.0, **LORA}, "training.lora_alpha", 8),
        # how long
        ({"max_train_steps": 0, "num_train_epochs": 3}, "training.num_train_epochs", 3),
        ({"max_train_steps": ""}, "training.num_train_epochs", 1),
        # learning rate
        ({}, "training.learning_rate", 4e-7),
        ({"lr_scheduler": "sine"}, "training.lr_scheduler", "cosine"),
        ({"lr_scheduler": "constant", "lr_warmup_steps": 5}, "training.lr_warmup_steps", 0),
        ({"lr_warmup_steps": 5}, "training.lr_scheduler", "constant_with_warmup"),
        ({"lr_scheduler": "linear", "lr_warmup_steps": 500}, "training.lr_warmup_steps", 100),
        ({"lr_scheduler": "polynomial"}, "training.lr_end", 0.0),
        ({"max_grad_norm": 0}, "training.max_grad_norm", 1e9),
        ({"optimizer": "prodigy"}, "training.max_grad_norm", 1e9),
        ({"optimizer": "optimi-lion", "adam_epsilon": 1e-6, "optimizer_beta1": 0.8}, "training.adam_epsilon", None),
        ({"optimizer": "optimi-lion", "adam_epsilon": 1e-6, "optimizer_beta1": 0.8}, "training.adam_beta1", 0.8),
        # the shift
        ({"flow_schedule_shift": 0}, "training.flow_schedule_shift", 1.0),
        ({"flow_schedule_shift": "4"}, "training.flow_schedule_shift", 4.0),
        ({"flow_schedule_shift": 0, "flow_schedule_auto_shift": True}, "training.flow_schedule_auto_shift", True),
        ({"flow_schedule_shift": 2, "flow_schedule_auto_shift": True}, "training.flow_schedule_auto_shift", False),
        # several GPUs
        ({"fsdp_enable": True, **LORA}, "training.fsdp_enable", False),
        ({"fsdp_enable": True, "use_ema": True}, "training.ema_device", "accelerator"),
        ({"fsdp_enable": True, "optimizer": "soap"}, "training.optimizer", "torch-adamw"),
        ({"dynamo_backend": "eager"}, "training.torch_compile", True),
        # validation
        ({"validation_resolution": "1"}, "validation.validation_resolution", "1024"),
        ({"validation_resolution": "1000x700, 512"}, "validation.validation_resolution", "992x704,512"),
        ({}, "validation.validation_resolution", None),
        ({"validation_prompt": "a cat", "validation_disable": "true"}, "validation.validation_prompt", None),
        ({"validation_guidance": 0}, "validation.validation_guidance", 1.0),
        ({"seed": 7}, "validation.validation_seed", 7),
        ({"seed": -1}, "training.seed", 42),
        ({"report_to": "wandb,tensorboard"}, "validation.report_to", "all"),
        ({"report_to": "comet_ml"}, "validation.report_to", "none"),
        # publishing
        ({"hub_model_id": "me/mine"}, "publishing.push_to_hub", False),
        ({"hub_model_id": "me/mine", "push_to_hub": "true"}, "publishing.push_to_hub", True),
        ({"push_to_hub": True}, "publishing.push_to_hub", None),
        ({"push_checkpoints_to_hub": True}, "publishing.push_checkpoints_to_hub", False),
        ({"output_dir": "pictures/out"}, "publishing.release_dir", None),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_becomes_what_does_the_same_here(options, key, value):
    assert setting(imported(SMALLEST | options)[1], key) == value


@pytest.mark.parametrize(
    ("lycoris", "precision"),
    [({"algo": "lokr"}, "int8-bnb"), ({"algo": "lokr", "dora_wd": True}, "no_change"), ({"algo": "ia3"}, "no_change")],
)
def test_a_base_in_few_bits_needs_an_adapter_that_runs_beside_it(lycoris, precision):
    write_json("lycoris.json", lycoris)
    draft, run = imported(SMALLEST | LYCORIS_LORA | {"base_model_precision": "int8-quanto"})
    assert run.training.base_model_precision == precision
    assert draft.lines["training.base_model_precision"].why


def test_an_algorithm_that_does_not_work_on_sana_is_named():
    write_json("lycoris.json", {"algo": "boft"})
    draft, run = imported(SMALLEST | LYCORIS_LORA)
    assert run.training.lycoris_config is None
    assert "algo 'boft' doesn't work on Sana" in draft.left_out["lycoris_config"].why


def test_files_beside_the_configuration_are_found_and_written_into_the_yaml(tmp_path, monkeypatch):
    write_json("there/config/multidatabackend.json", [ENTRY])
    write_json("there/config/lycoris.json", LYCORIS)
    write_json("there/config/library.json", {"cat": {"prompt": "a cat"}, "validation": "a dog"})
    files = {"lycoris_config": "config/lycoris.json", "user_prompt_library": "config/library.json"}
    write_json("there/config/config.json", SMALLEST | LYCORIS_LORA | files)
    draft, datasets = import_config(Path("there/config/config.json"))
    assert datasets == Path("there/config/multidatabackend.json")
    assert draft.value("training.lycoris_config") == LYCORIS
    assert draft.value("validation.user_prompt_library") == {"cat": "a cat", "validation_": "a dog"}
    assert "'validation' is now 'validation_'" in draft.lines["validation.user_prompt_library"].why


def test_a_folder_with_something_else_in_it_is_not_released_into():
    write_json("output/models/checkpoint-500/state.json", {})
    assert imported(SMALLEST | {"output_dir": "output/models/"})[1].publishing.release_dir == "output/models-sanaflow"


def test_what_an_option_that_is_off_would_do_is_no_loss():
    draft, _ = imported(SMALLEST | {"controlnet": False, "crepa_enabled": True, "lora_init_type": "default"})
    kinds = {name: draft.left_out[name].kind for name in ("controlnet", "crepa_enabled", "lora_init_type")}
    assert kinds == {"controlnet": "not needed", "crepa_enabled": "missing", "lora_init_type": "not needed"}


def test_an_entry_without_sizes_keeps_simpletuners_buckets_and_takes_the_configurations():
    draft, run = imported(SMALLEST | {"resolution": 512, "caption_strategy": "textfile"}, ENTRY, ENTRY | {"id": "b"})
    assert [(d.buckets, d.resolution, d.caption_strategy) for d in run.datasets] == [("aligned", 512, "textfile")] * 2
    assert draft.datasets[0]["resolution"].option == "resolution"


@pytest.mark.parametrize(
    ("more", "name", "kind"),
    [
        ({"cache_dir_vae": "cache"}, "datasets[set].cache_dir_vae", "not needed"),
        ({"aws_secret_access_key": "sesame"}, "datasets[set].aws_secret_access_key", "secret"),
        ({"start_epoch": 3}, "datasets[set].start_epoch", "missing"),
        ({"start_epoch": 1}, "datasets[set].start_epoch", "not needed"),
        ({"timestep_sampling_offset": 0.2}, "datasets[set].timestep_sampling_offset", "no effect"),
        ({"crop_styl": "center"}, "datasets[set].crop_styl", "unknown"),
        ({"slider_strength": 0.5}, "datasets[set].slider_strength", "missing"),
        ({"conditioning_data": "edges"}, "datasets[set].conditioning_data", "missing"),
        ({"text_embeds": "store"}, "datasets[set].text_embeds", "not needed"),
        ({"parquet": {"path": "t", "bbox_column": "b"}}, "datasets[set].parquet.bbox_column", "missing"),
    ],
)
def test_a_key_of_an_entry_that_has_nothing_to_act_on_is_named(more, name, kind):
    edges = {"id": "edges", "instance_data_dir": "e", "dataset_type": "conditioning", "conditioning_type": "controlnet"}
    store = {"id": "store", "type": "local", "dataset_type": "text_embeds", "default": True}
    film = {"id": "film", "type": "local", "dataset_type": "video", "instance_data_dir": "films"}
    draft, run = imported(SMALLEST, ENTRY | more, edges, store, film)
    assert draft.left_out[name].kind == kind
    assert [d.id for d in run.datasets] == ["set"]
    assert {draft.left_out[f"datasets[{i}]"].kind for i in ("edges", "film")} == {"missing"}


def test_entries_that_are_understood_stay_as_they_are():
    masks = {"id": "m", "instance_data_dir": "m", "dataset_type": "conditioning", "conditioning_type": "mask"}
    words = {"id": "words", "dataset_type": "text_embeds", "caption_filter_list": ["red"], "cache_dir": "x"}
    entry = ENTRY | {"conditioning_data": "m", "text_embeds": "words", "probability": 2, "disable": False}
    draft, run = imported(SMALLEST, entry, masks, words)
    dataset = run.datasets[0]
    assert (dataset.masks, dataset.text_embeds, dataset.probability) == (("m",), "words", 1.0)
    assert "2 there" in draft.datasets[0]["probability"].why


def test_what_the_configuration_says_of_captions_is_not_put_onto_masks():
    masks = {"id": "m", "instance_data_dir": "m", "dataset_type": "conditioning", "conditioning_type": "mask"}
    entry = ENTRY | {"conditioning_data": "m", "caption_strategy": "filename"}
    options = SMALLEST | {"caption_strategy": "instance_prompt", "instance_prompt": "a toy"}
    draft, run = imported(options, entry, masks)
    assert "instance_prompt" not in draft.datasets[1] and "caption_strategy" not in draft.datasets[1]
    assert run.datasets[0].caption_strategy == "filename"


def test_what_is_known_of_optimizers_and_algorithms_is_what_the_code_has():
    from sanaflow.model import lycoris
    from sanaflow.training.optimizers import CLASSES

    without: dict[str, set[str]] = {"adam_beta": set(), "adam_epsilon": set()}
    for name in OPTIMIZERS:
        module, kind = CLASSES[name].split(":")
        known = inspect.signature(getattr(importlib.import_module(module), kind).__init__).parameters
        for setting_name, argument in (("adam_beta", "betas"), ("adam_epsilon", "eps")):
            if not {argument, f"adamw_{argument}"} & known.keys():
                without[setting_name].add(name)
    assert {key: set(names) for key, names in WITHOUT.items()} == without
    assert (ALGORITHMS, BESIDE) == (lycoris.ALGORITHMS, lycoris.BYPASSING)
