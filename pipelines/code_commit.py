"""Which code a run is made by: ours, and that of the packages that matter most."""

import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def code_commit() -> str | None:
    """The commit of this checkout, with `-dirty` if files differ from it; None where it is no checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()


def package_versions() -> dict[str, str]:
    """Of what a model depends on most, where the run is started."""
    packages = ("sanaflow", "torch", "diffusers", "transformers", "peft", "lycoris-lora")
    return {name: metadata.version(name) for name in packages}
