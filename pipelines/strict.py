"""ZenML pipelines that check their YAML first, and stop at the first step that fails, where the stack can."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from zenml import Model
from zenml.client import Client
from zenml.enums import ExecutionMode
from zenml.pipelines.pipeline_definition import Pipeline

from pipelines.checking.start import check_at_start
from pipelines.code_commit import code_commit, package_versions
from pipelines.outcome import raise_if_failed
from pipelines.run_file import check_run_file
from sanaflow.config import RunSettings
from sanaflow.errors import InputError
from sanaflow.run_yaml import read_yaml


class StrictPipeline(Pipeline):
    """A pipeline that refuses a YAML with mistakes before ZenML reads it, whichever way it is started."""

    _asked: tuple[RunSettings, dict[str, Any]] | None = None
    """The settings, and the YAML that they are from."""
    _publishes = False

    def with_options(self, **options: Any) -> Pipeline:  # type: ignore[override]
        """As ZenML's, after a check of the YAML. What it says of an encoding step holds for all of its workers.

        The run's `extra` says which code it is made by.

        Raises:
            InputError: The YAML has mistakes.
        """
        asked = None
        if path := options.get("config_path"):
            run = check_run_file(path)
            self._check_sections(run, path)
            asked = run, read_yaml(path)
            others = range(2, run.caches.encode_workers + 1)
            said = asked[1].get("steps") or {}
            fanned_out = said.keys() & {"encode_latents", "encode_captions"}
            same = {f"{name}_{number}": said[name] for name in fanned_out for number in others}  # ZenML's own numbers
            options["steps"] = same | dict(options.get("steps") or {})
        commit = code_commit()
        made_by = {"packages": package_versions(), **({"code_commit": commit} if commit else {})}
        options["extra"] = made_by | (options.get("extra") or {})
        ready = super().with_options(**options)
        modes = Client().active_stack.orchestrator.supported_execution_modes
        if ExecutionMode.FAIL_FAST not in modes:  # Kubeflow, Vertex, ...: ZenML refuses what they don't know
            ready.configure(execution_mode=modes[0])
        if isinstance(ready, StrictPipeline) and asked:
            ready._asked = asked
        return ready

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As ZenML's, after a look at what the YAML names.

        Raises:
            InputError: The run is bound to fail, or has failed.
        """
        if self._asked:
            check_at_start(*self._asked, publishes=self._publishes)
        return raise_if_failed(super().__call__(*args, **kwargs))

    def _check_sections(self, run: RunSettings, path: str) -> None:
        """See that the pipeline takes what the YAML has, and has what it needs; ZenML says neither in one line."""
        takes = inspect.signature(self.entrypoint).parameters
        if run.candidate and "candidate" not in takes:
            raise InputError(f"{path}: 'parameters.candidate' is for pipelines.evaluate: remove it, or run that")
        if not run.candidate and "candidate" in takes:
            raise InputError(f"{path}: 'parameters.candidate' is missing: add it, with the 'name' of what to score")


def strict_pipeline(
    *, model: Model | None = None, name: str | None = None
) -> Callable[[Callable[..., Any]], StrictPipeline]:
    """Make a pipeline of a function, as ZenML's `@pipeline` does; each run is a version of `model`, if there is one.

    Args:
        model: Of which trained weights are versions.
        name: None: the function's.
    """

    def make(function: Callable[..., Any]) -> StrictPipeline:
        pipeline = StrictPipeline(
            name=name or function.__name__,
            entrypoint=function,
            execution_mode=ExecutionMode.FAIL_FAST,
            enable_cache=True,
            model=model,
        )
        pipeline.__doc__ = function.__doc__
        pipeline._publishes = model is not None
        return pipeline

    return make


def main(module: str, name: str) -> None:
    """The command line of a pipeline's module."""
    pipeline = getattr(importlib.import_module(module), name)  # by its own name, not as __main__, so that steps find it

    @click.command(help=pipeline.__doc__)
    @click.option(
        "-c",
        "--config",
        required=True,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The run's YAML.",
    )
    def command(config: Path) -> None:
        pipeline.with_options(config_path=str(config))()

    command(prog_name=f"python -m {module}")
