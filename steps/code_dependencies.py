"""Make a step's cache key depend on the library code that it runs.

ZenML keys a step's cache on the step's own source; ours is a thin call into `sanaflow`. So every step names the
`sanaflow`
modules it calls, and all that these import from `sanaflow` in turn goes into its cache key: changed code is never
served stale results.
"""

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path

from zenml.config.cache_policy import CachePolicy
from zenml.utils.source_utils import set_custom_source_root

from sanaflow.digests import digest_of, file_digest

ROOT = Path(__file__).resolve().parent.parent
set_custom_source_root(str(ROOT))  # what ZenML resolves the files of a cache policy against, wherever it was started
LEFT_OUT = {"sanaflow.config", "sanaflow.training_settings", "sanaflow.validation_settings", "sanaflow.errors"}
"""Parameters are in the cache key by value, and an error's text changes no result."""


def code_of(*modules: str, and_files: tuple[str, ...] = (), state: Callable[[], str] | None = None) -> CachePolicy:
    """A cache policy that covers the named modules, all `sanaflow` modules they rest on, and some other files.

    Args:
        modules: `sanaflow.…`
        and_files: Relative to the project.
        state: What else must be as it was, such as `shard_state.latents_state`.
    """
    return CachePolicy(file_dependencies=[*_files(*modules), *and_files], cache_func=state)  # type: ignore[arg-type]


def code_digest(*modules: str) -> str:
    """sha256 over the same files."""
    return digest_of({file: file_digest(ROOT / file) for file in _files(*modules)})


def _files(*modules: str) -> list[str]:
    files: set[str] = set()
    todo = list(modules)
    while todo:
        file = _file_of(todo.pop())
        if file and file not in files:
            files.add(file)
            todo += _imports(file)
    return sorted(files)


def _file_of(module: str) -> str | None:
    """The module's file relative to the project; None for a package or a name inside a module."""
    file = Path(*module.split(".")).with_suffix(".py")
    return file.as_posix() if (ROOT / file).is_file() else None


@cache
def _imports(file: str) -> tuple[str, ...]:
    """`sanaflow` modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return tuple(sorted(name for name in names - LEFT_OUT if name.split(".")[0] == "sanaflow"))
