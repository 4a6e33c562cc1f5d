"""Which versions are here, against those that were tested together."""

import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from pipelines.checking.finding import Finding
from pipelines.code_commit import ROOT, code_commit

PACKAGES = (
    *("torch", "diffusers", "transformers", "accelerate", "peft", "bitsandbytes", "lycoris-lora", "huggingface-hub"),
    *("safetensors", "open-clip-torch", "zenml", "pydantic", "pandas", "pyarrow", "numpy", "pillow"),
)
OLDEST_PYTHON = (3, 11)


def look_at_packages() -> Iterator[Finding]:
    """Python, this project and what it rests on most."""
    python = f"{platform.python_version()} on {platform.platform()}"
    old = sys.version_info < OLDEST_PYTHON
    yield Finding("error" if old else "ok", "python", python + (", too old: use 3.11 or newer" if old else ""))
    commit = code_commit()
    yield Finding("ok", "sanaflow", metadata.version("sanaflow") + (f", commit {commit}" if commit else ""))
    tested = tested_versions(ROOT / "constraints.txt")
    for name in PACKAGES:
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding("error", name, "is missing: run `make setup`")
            continue
        wanted = tested.get(name)
        if wanted and here.partition("+")[0] != wanted:
            yield Finding("warning", name, f"{here}, tested with {wanted}")
        else:
            yield Finding("ok", name, here)
    if not tested:
        yield Finding("ok", "tested versions", "unknown: this is no checkout, so there is no constraints.txt")


def tested_versions(constraints: Path) -> dict[str, str]:
    """Version by package, of a file of `name==version` lines; none if it isn't there."""
    lines = constraints.read_text().splitlines() if constraints.is_file() else []
    pairs = (line.partition("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.strip().lower(): version.strip() for name, _, version in pairs}
