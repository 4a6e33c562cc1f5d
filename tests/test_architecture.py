"""The rooms of the house and which may use which, read off the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_USE = {
    "simpletuner": set(),
    "lineage": set(),
    "images": set(),
    "buckets": set(),
    "model": set(),
    "cache": {"images", "buckets", "model"},
    "training": {"model", "cache"},
    "evaluation": {"images", "model", "cache", "training"},
    "publishing": {"model", "cache", "evaluation"},
}
SHARED = {
    "config",
    "dataset_parts",
    "datasets",
    "digests",
    "errors",
    "hub",
    "notifications",
    "paths",
    "progress",
    "prompts",
    "section",
}
SHARED |= {"run_yaml", "training_settings", "validation_settings"}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(node.module or "")
    return names


def test_the_library_imports_nothing_above_it():
    for file in modules("sanaflow"):
        above = {n for n in imports(file) if n.split(".")[0] in {"zenml", "steps", "pipelines", "materializers"}}
        assert not above, f"{file} imports {above}"


@pytest.mark.parametrize("room", MAY_USE)
def test_rooms_use_only_the_rooms_before_them(room):
    for file in modules(f"sanaflow/{room}"):
        if file.name == "__main__.py":  # a command puts the rooms together, as a pipeline does
            continue
        used = {n.split(".")[1] for n in imports(file) if n.startswith("sanaflow.")}
        assert used <= MAY_USE[room] | SHARED | {room}, f"{file} imports {used - MAY_USE[room] - SHARED - {room}}"


def test_every_room_is_in_the_plan():
    found = {p.name for p in (ROOT / "sanaflow").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert found == set(MAY_USE)


@pytest.mark.parametrize("pipeline", ["finetune", "evaluate", "retrain"])
def test_a_pipeline_is_imported_without_torch_which_takes_longer_than_a_cached_run(pipeline):
    script = f"import sys, pipelines.{pipeline}; print('torch' in sys.modules)"
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert said.stdout.splitlines()[-1] == "False"


def test_steps_are_thin_and_never_import_pipelines():
    for file in modules("steps"):
        assert not any(n.split(".")[0] == "pipelines" for n in imports(file)), file
        assert len(file.read_text().splitlines()) < 80, file


def test_pipelines_read_as_a_table_of_contents():
    for file in modules("pipelines"):
        assert len(file.read_text().splitlines()) < 120, file


def test_nothing_is_unpickled():
    for room in ("sanaflow", "steps", "materializers", "pipelines"):
        for file in modules(room):
            assert "pickle" not in imports(file), file
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                    assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords), file
