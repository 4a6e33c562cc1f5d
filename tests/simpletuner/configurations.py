"""SimpleTuner's configurations as a user has them, written into a folder that is the working directory."""

import json
from pathlib import Path
from typing import Any

import yaml

from sanaflow.config import RunSettings
from sanaflow.run_yaml import parse_run_settings
from sanaflow.simpletuner.draft import Draft
from sanaflow.simpletuner.importing import import_config
from sanaflow.simpletuner.run_text import run_text

SMALLEST = {"model_family": "sana", "pretrained_model_name_or_path": "some/sana", "max_train_steps": 100}
ENTRY = {"id": "set", "type": "local", "instance_data_dir": "pictures"}
GUIDE = {
    **{"--resume_from_checkpoint": "latest", "--data_backend_config": "config/multidatabackend.json"},
    **{"--aspect_bucket_rounding": 2, "--seed": 42, "--minimum_image_size": 0, "--disable_benchmark": False},
    **{"--output_dir": "output/models", "--max_train_steps": 10000, "--num_train_epochs": 0},
    **{"--checkpointing_steps": 500, "--checkpoints_total_limit": 5, "--attention_mechanism": "diffusers"},
    **{"--tracker_project_name": "sana-training", "--tracker_run_name": "example", "--report_to": "wandb"},
    **{"--model_type": "full", "--model_family": "sana", "--train_batch_size": 1},
    **{"--pretrained_model_name_or_path": "terminusresearch/sana-1.6b-1024px", "--gradient_checkpointing": "true"},
    **{"--use_ema": True, "--caption_dropout_probability": 0.1, "--resolution_type": "pixel_area"},
    **{"--resolution": 1024, "--validation_seed": 42, "--validation_steps": 500},
    **{"--validation_resolution": "1024x1024", "--validation_guidance": 5.0, "--validation_guidance_rescale": "0.0"},
    **{"--validation_num_inference_steps": "20", "--validation_prompt": "A photo of a cat", "--lora_type": ""},
    **{"--user_prompt_library": "config/user_prompt_library.json", "--mixed_precision": "bf16"},
    **{"--optimizer": "adamw_bf16", "--learning_rate": "1e-5", "--lr_scheduler": "polynomial"},
    **{"--lr_warmup_steps": "100", "--flow_schedule_auto_shift": True, "--validation_torch_compile": "false"},
    **{"--tokenizer_max_length": 300, "--eval_steps_interval": None},
}
"""The keys that SimpleTuner's Sana guide (2.x) names and those of its example."""
LOKR = {
    **{"model_type": "lora", "lora_type": "lycoris", "lycoris_config": "lycoris.json", "model_family": "sana"},
    **{"pretrained_model_name_or_path": "terminusresearch/sana-1.6b-1024px", "learning_rate": 2e-5},
    **{"optimizer": "adamw_bf16", "train_batch_size": 4, "mixed_precision": "bf16", "max_train_steps": 1000},
    **{"gradient_checkpointing_interval": 1, "use_ema": True, "ema_update_interval": 25, "max_grad_norm": 1},
    **{"ema_validation": "comparison", "grad_clip_method": "value", "validation_resolution": "1024x1024"},
    **{"validation_guidance": 4.5, "validation_num_inference_steps": 20, "evaluation_type": "clip"},
    **{"quantize_via": "cpu", "vae_batch_size": 1, "disable_bucket_pruning": True},
    **{"delete_problematic_images": True, "base_model_precision": "int8-quanto", "validation_prompt": "a cat"},
}
"""The example `sana.lycoris-lokr` that SimpleTuner ships."""
LYCORIS = {
    **{"bypass_mode": True, "algo": "lokr", "multiplier": 1.0, "full_matrix": True, "linear_dim": 10000},
    **{"linear_alpha": 1, "factor": 4},
    "apply_preset": {
        "target_module": ["Attention", "FeedForward"],
        "module_algo_map": {"FeedForward": {"factor": 4}, "Attention": {"factor": 2}},
    },
}


def write_json(path: str, content: Any) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2))
    return file


def imported(options: dict[str, Any], *entries: dict[str, Any]) -> tuple[Draft, RunSettings]:
    """The draft, and the run that its YAML says, read as any run's YAML is."""
    config = write_json("config.json", options)
    datasets = write_json("multidatabackend.json", list(entries) or [ENTRY])
    draft, _ = import_config(config, datasets)
    text = run_text(draft, config=config, datasets=datasets, output=Path("mine.yaml"))
    return draft, parse_run_settings(yaml.safe_load(text)["parameters"], source="mine.yaml")


def setting(run: RunSettings, key: str) -> Any:
    """`section.name` of a run."""
    section, _, name = key.partition(".")
    return getattr(getattr(run, section), name)
