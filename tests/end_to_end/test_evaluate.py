"""Any model is scored beside its base, without training."""

import pytest

from pipelines.evaluate import evaluate
from pipelines.finetune import finetune
from sanaflow.errors import InputError
from tests.end_to_end.test_finetune import artifact, run
from tests.environment import SMALL_SANA


def test_a_model_version_and_its_release_score_the_same_and_the_base_like_itself(write_run, tmp_path):
    trained = run(write_run({"model": {"name": "to-be-scored"}}))
    found = {}
    for name in ("to-be-scored@1", str(tmp_path / "release"), str(SMALL_SANA)):
        finished = run(write_run(candidate={"name": name}), evaluate)
        assert "train_sana" not in finished.steps
        found[name] = artifact(finished, "score_clip", "clip_scores").load().scores
    version, release, base = found.values()
    expected = artifact(trained, "score_clip", "clip_scores").load().scores
    for scores in (version, release):
        assert scores["tuned"].tolist() == pytest.approx(expected["tuned"].tolist(), abs=1e-3)
    assert base["tuned"].tolist() == pytest.approx(base["base"].tolist(), abs=1e-3)


def test_what_is_wrong_with_the_candidate_is_one_line(write_run):
    with pytest.raises(InputError, match=r"'parameters\.candidate' is missing"):
        evaluate.with_options(config_path=str(write_run()))
    with pytest.raises(InputError, match=r"'parameters\.candidate' is for pipelines\.evaluate"):
        finetune.with_options(config_path=str(write_run(candidate={"name": "sana@1"})))
    with pytest.raises(InputError, match="there is no model version 'to-be-scored@99'"):
        run(write_run(candidate={"name": "to-be-scored@99"}), evaluate)
