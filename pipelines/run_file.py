"""Check a run's YAML before anything runs. ZenML drops keys that it doesn't know in silence; here they are refused."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from zenml.client import Client
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
from zenml.config.step_configurations import StepConfigurationUpdate
from zenml.enums import StackComponentType
from zenml.utils.settings_utils import get_general_settings

from sanaflow.config import RunSettings
from sanaflow.errors import InputError, nearest
from sanaflow.run_yaml import parse_run_settings, read_yaml

STEPS = Path(__file__).resolve().parent.parent / "steps"


def check_run_file(path: str) -> RunSettings:
    """Read a run's YAML and check every key in it.

    Raises:
        InputError: It is no YAML, a key is unknown (with the nearest known one), or a value is wrong; one line a
            mistake.
    """
    content = read_yaml(path)
    mistakes = [
        *_unknown_keys(content, PipelineRunConfiguration, ""),
        *_step_mistakes(content.get("steps") or {}),
        *_settings_mistakes(content.get("settings") or {}, "settings"),
        *_secrets_in(content.get("environment") or {}),
    ]
    if not mistakes:
        try:
            PipelineRunConfiguration.model_validate({k: v for k, v in content.items() if k != "parameters"})
        except ValidationError as error:
            mistakes = [f"'{'.'.join(map(str, e['loc']))}': {e['msg']} (it is {e['input']!r})" for e in error.errors()]
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


def _secrets_in(environment: Any) -> Iterator[str]:
    for name in environment if isinstance(environment, dict) else ():
        if re.search("TOKEN|SECRET|PASSWORD|KEY", str(name).upper()):
            yield f"'environment.{name}': a secret doesn't belong into a YAML: use the environment or ZenML's secrets"


def _step_mistakes(steps: Any) -> Iterator[str]:
    if not isinstance(steps, dict):
        yield "'steps' should be a mapping from step names to their settings"
        return
    names = [p.stem for p in STEPS.glob("*.py") if f"\ndef {p.stem}(" in p.read_text()]
    for name, step in steps.items():
        if name not in names:
            yield f"unknown step '{name}' in 'steps': {nearest(str(name), names)}"
            continue
        if not isinstance(step, dict):
            yield f"'steps.{name}' should be a mapping of the step's settings"
            continue
        yield from _unknown_keys(step, StepConfigurationUpdate, f"steps.{name}")
        yield from _operator_mistakes(name, step.get("step_operator"))
        if step:
            yield from _settings_mistakes(step.get("settings") or {}, f"steps.{name}.settings")
            if "parameters" in step:
                yield f"'steps.{name}.parameters' has no effect: put its sections under the top-level 'parameters'"


def _operator_mistakes(step: str, operator: Any) -> Iterator[str]:
    components = Client().active_stack_model.components.get(StackComponentType.STEP_OPERATOR, [])
    names = [component.name for component in components]
    if operator and not names:
        yield f"'steps.{step}.step_operator' is set, but the active stack has none: `zenml stack set` one that has"
    elif isinstance(operator, str) and operator not in names:
        yield f"'steps.{step}.step_operator': the active stack has no '{operator}': {nearest(operator, names)}"


def _settings_mistakes(settings: Any, inside: str) -> Iterator[str]:
    if not isinstance(settings, dict):
        yield f"'{inside}' should be a mapping"
        return
    classes = get_general_settings() | Client().active_stack.setting_classes
    for key, value in settings.items():
        if key in classes:
            yield from _unknown_keys(value, classes[key], f"{inside}.{key}")
        elif key.split(".")[0] not in {known.split(".")[0] for known in classes}:
            yield f"unknown key '{key}' in '{inside}': {nearest(str(key), classes)} (as the active stack has it)"
