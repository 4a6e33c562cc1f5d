"""Which code a run is made by."""

import subprocess
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
