"""A small release."""

import pandas as pd
import pytest
from PIL import Image

from sanaflow.config import PublishingSettings
from sanaflow.evaluation.gallery import gallery_of
from sanaflow.evaluation.scores import ClipScores
from sanaflow.publishing.release import publish

SCORES = ClipScores(
    pd.DataFrame({"prompt": ["a", "b"], "seed": [0, 0], "base": [10.0, 20.0], "tuned": [12.0, 26.0]}),
    pd.DataFrame(),
    "packaged",
    "",
)
GALLERY = gallery_of([(label, p, 0, Image.new("RGB", (64, 64))) for label in ("base", "tuned") for p in "ab"])


@pytest.fixture
def release(tuned, small_sana, tmp_path):
    def make(model_version=None, **settings):
        return publish(
            tuned,
            model_version=model_version,
            model=small_sana,
            scores=SCORES,
            gallery=GALLERY,
            settings=PublishingSettings(**{"release_dir": str(tmp_path / "release"), **settings}),
            default_folder=tmp_path / "default",
        )

    return make


@pytest.fixture(autouse=True)
def token(monkeypatch, hub):
    monkeypatch.setenv("HF_TOKEN", hub.token)
