"""A small run: a model of random weights, five pictures, six steps."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.environment import PROJECT, SMALL_SANA

NAMES = ("red apple", "rocket", "panda", "banana", "guitar")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with five of the bundled pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(PROJECT / "assets" / "pictures" / f"{name}.webp", folder)
    return folder


@pytest.fixture
def write_run(tmp_path: Path, pictures: Path) -> Callable[..., Path]:
    """Writes a run's YAML: `write_run(training={"seed": 3}, steps={...})` changes sections of the small run."""

    def write(top: dict[str, Any] | None = None, **sections: dict[str, Any]) -> Path:
        parameters: dict[str, Any] = {
            "model": {"pretrained_model_name_or_path": str(SMALL_SANA)},
            "datasets": [{"id": "set", "instance_data_dir": str(pictures), "resolution": 64}],
            "caches": {"text_encoder_dtype": "fp32"},
            "training": {
                "max_train_steps": 6,
                "train_batch_size": 2,
                "allow_dataset_oversubscription": True,
                "learning_rate": 1.0e-3,
                "mixed_precision": "no",
                "checkpointing_steps": 2,
            },
            "validation": {
                "validation_prompt": "red apple",
                "validation_steps": 3,
                "validation_num_inference_steps": 2,
            },
            "evaluation": {"evaluation_model": "packaged", "evaluation_num_inference_steps": 2},
            "publishing": {"release_dir": str(tmp_path / "release")},
        }
        for name, section in sections.items():
            parameters[name] = parameters.get(name, {}) | section if isinstance(section, dict) else section
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({"parameters": parameters, **(top or {})}))
        return path

    return write
