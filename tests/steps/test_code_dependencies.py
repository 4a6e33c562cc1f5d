import ast
import shutil

import pytest

from steps.code_dependencies import code_digest, code_of
from tests.environment import PROJECT


def test_a_step_depends_on_all_that_its_module_imports_in_turn():
    files = code_of("sanaflow.cache.latents").file_dependencies
    assert {"sanaflow/cache/latents.py", "sanaflow/images/decode.py", "sanaflow/model/attention.py"} <= set(files)
    assert "sanaflow/cache/captions.py" not in files
    assert "sanaflow/config.py" not in files  # parameters are in the key by value


def test_the_digest_changes_with_a_line_of_code_deep_below(monkeypatch, tmp_path):
    shutil.copytree(PROJECT / "sanaflow", tmp_path / "sanaflow")
    monkeypatch.setattr("steps.code_dependencies.ROOT", tmp_path)
    before = code_digest("sanaflow.cache.captions"), code_digest("sanaflow.cache.latents")
    with (tmp_path / "sanaflow/images/decode.py").open("a") as file:
        file.write("# a line\n")
    after = code_digest("sanaflow.cache.captions"), code_digest("sanaflow.cache.latents")
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(
    "step",
    [
        *("assign_buckets", "look_up_latents", "encode_latents", "merge_latents"),
        *("look_up_captions", "encode_captions", "merge_captions", "train_sana", "score_clip"),
    ],
)
def test_every_cached_step_names_the_library_code_that_it_calls(step):
    """What a step's function imports from the library is in its cache policy."""
    module = __import__(f"steps.{step}", fromlist=[step])
    dependencies = set(getattr(module, step).configuration.cache_policy.file_dependencies)
    [function] = [
        n for n in ast.parse((PROJECT / f"steps/{step}.py").read_text()).body if isinstance(n, ast.FunctionDef)
    ]
    called = {n.module for n in ast.walk(function) if isinstance(n, ast.ImportFrom) and n.module}
    assert called
    assert {f"{name.replace('.', '/')}.py" for name in called if name.startswith("sanaflow")} <= dependencies
