"""Check a run's YAML before anything runs. ZenML drops keys that it doesn't know in silence; here they are refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from zenml.client import Client
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
from zenml.config.step_configurations import StepConfigurationUpdate
from zenml.utils.settings_utils import get_general_settings

from sanaflow.config import RunSettings, parse_run_settings
from sanaflow.errors import InputError, nearest

STEPS = Path(__file__).resolve().parent.parent / "steps"


def check_run_file(path: str) -> RunSettings:
    """Read a run's YAML and check every key in it.

    Raises:
        InputError: It is no YAML, a key is unknown (with the nearest known one), or a value is wrong; one line a
            mistake.
    """
    try:
        content = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise InputError(f"{path}: has no section 'parameters'; see configs/demo.yaml for one")
    mistakes = list(_unknown_keys(content, PipelineRunConfiguration, ""))
    mistakes += _step_mistakes(content.get("steps") or {})
    mistakes += _settings_mistakes(content.get("settings") or {}, "settings")
    if mistakes:
        raise InputError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return parse_run_settings(content["parameters"], source=path)


def _unknown_keys(data: Any, model: type[BaseModel], inside: str) -> Iterator[str]:
    """Keys that a ZenML model doesn't have, here and in the models it holds."""
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        if key not in model.model_fields:
            yield f"unknown key '{key}'{f' in {inside!r}' if inside else ''}: {nearest(str(key), model.model_fields)}"
            continue
        for part in _models_in(model.model_fields[key].annotation):
            if part is not StepConfigurationUpdate:
                yield from _unknown_keys(value, part, f"{inside}.{key}".strip("."))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The configuration model that a field holds directly: Model, Schedule, StepRetryConfig, CachePolicy."""
    for part in [annotation, *get_args(annotation)]:
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield part


def _step_mistakes(steps: dict[str, Any]) -> Iterator[str]:
    names = [p.stem for p in STEPS.glob("*.py") if f"\ndef {p.stem}(" in p.read_text()]
    for name, step in steps.items():
        if name not in names:
            yield f"unknown step '{name}' in 'steps': {nearest(str(name), names)}"
            continue
        yield from _unknown_keys(step, StepConfigurationUpdate, f"steps.{name}")
        if isinstance(step, dict):
            yield from _settings_mistakes(step.get("settings") or {}, f"steps.{name}.settings")
            if "parameters" in step:
                yield f"'steps.{name}.parameters' has no effect: put its sections under the top-level 'parameters'"


def _settings_mistakes(settings: dict[str, Any], inside: str) -> Iterator[str]:
    classes = get_general_settings() | Client().active_stack.setting_classes
    for key, value in settings.items():
        if key in classes:
            yield from _unknown_keys(value, classes[key], f"{inside}.{key}")
        elif key.split(".")[0] not in {known.split(".")[0] for known in classes}:
            yield f"unknown key '{key}' in '{inside}': {nearest(str(key), classes)} (as the active stack has it)"
