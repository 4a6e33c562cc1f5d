"""Run a command with the code of another commit, in a checkout of its own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines.code_commit import ROOT
from sanaflow.errors import InputError


def run_at(commit: str | None, *arguments: str) -> int:
    """Run `python -m sanaflow ARGUMENTS` with the code as it was, in this folder, with the packages of now.

    Returns:
        Its exit code.

    Raises:
        InputError: That code can't be had.
    """
    if commit is None:
        raise InputError("which code made it is unknown: its run was started outside of a git checkout")
    if commit.endswith("-dirty"):
        raise InputError(f"the code that made it is lost: files differed from commit {commit.removesuffix('-dirty')}")
    with tempfile.TemporaryDirectory(prefix="sanaflow-") as folder:
        there = Path(folder) / "checkout"
        try:
            _git("worktree", "add", "--detach", str(there), commit)
        except (OSError, subprocess.CalledProcessError) as error:
            said = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:]
            raise InputError(
                f"commit {commit} can't be checked out ({' '.join(said)}): fetch it into {ROOT} first"
            ) from None
        try:
            if not (there / "pipelines/lineage/rebuild.py").is_file():
                raise InputError(f"commit {commit} has no `rebuild` of its own yet: run it without --checkout")
            # -P: modules of the folder it runs in, which paths in settings are relative to, don't come first.
            path = os.pathsep.join([str(there), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
            command = [sys.executable, "-P", "-m", "sanaflow", *arguments]
            return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
        finally:
            _git("worktree", "remove", "--force", str(there))


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
