"""The pipeline that a schedule is to run."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zenml.client import Client
from zenml.pipelines.pipeline_definition import Pipeline
from zenml.utils import source_utils

from sanaflow.errors import InputError


@contextmanager
def source_root_here() -> Iterator[None]:
    """Have ZenML take this folder for the code's, as `zenml pipeline run` does; else it is that of `sanaflow`."""
    if Client.find_repository() is None:
        source_utils.set_custom_source_root(str(Path.cwd()))
    try:
        yield
    finally:
        source_utils.set_custom_source_root(None)


def load_checked(source: str, config: str) -> Pipeline:
    """The pipeline by its module and name.

    Raises:
        InputError: There is none, or the YAML has mistakes.
    """
    module, _, name = source.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"--pipeline '{source}': {error}") from None
    if not isinstance(found, Pipeline):
        raise InputError(f"--pipeline '{source}': is no pipeline")
    with source_root_here():
        found.with_options(config_path=config)
    return found
