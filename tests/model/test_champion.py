from dataclasses import replace

import pytest

from sanaflow.config import TrainingSettings
from sanaflow.model.champion import Champion, as_champion, start_from


def renamed(tuned, digest: str):
    """Other weights, by their folder's name."""
    return replace(tuned, folder=tuned.folder.with_name(digest))


def test_a_version_of_the_same_base_is_scored(tuned):
    found = as_champion("3", tuned, renamed(tuned, "0" * 64))
    assert found == Champion("3", tuned)
    assert found.digest() == tuned.digest()


def test_the_very_same_weights_are_not_scored_against_themselves(tuned):
    found = as_champion("3", tuned, tuned)
    assert found.tuned is None
    assert found.keeps_its_place == "version 3 has these very weights"


def test_a_version_of_another_base_keeps_its_place(tuned):
    found = as_champion("3", replace(tuned, base_digest="f" * 64), renamed(tuned, "0" * 64))
    assert found.tuned is None
    assert "of another base model" in found.keeps_its_place


def test_a_version_whose_weights_are_gone_keeps_its_place(tuned):
    found = as_champion("3", renamed(tuned, "1" * 64), renamed(tuned, "0" * 64))
    assert "missing or damaged" in found.keeps_its_place


def test_all_that_are_not_scored_are_alike_to_a_cache():
    assert Champion().digest() == Champion("3", keeps_its_place="so").digest()


def test_a_champion_is_scored_beside_the_one_before_it_as_it_was(tuned):
    before = Champion("2", renamed(tuned, "0" * 64))
    found = as_champion("3", tuned, tuned, before)
    assert found.digest() == before.digest(), "nothing is scored again"
    assert found.keeps_its_place == "version 3 has these very weights"


DATA, SETTINGS = {"latents": "0" * 64, "captions": "1" * 64}, TrainingSettings().model_dump(mode="json")


@pytest.mark.parametrize(
    ("changes", "settings", "started"),
    [
        ({"data_digests": {"latents": "2" * 64, "captions": "1" * 64}}, SETTINGS, "the champion"),
        ({}, SETTINGS | {"learning_rate": 1.0}, "the champion"),
        ({}, SETTINGS, "the base"),
        ({"started_from": "3" * 64}, SETTINGS, "3" * 64),
        ({"base_digest": "f" * 64, "data_digests": {}}, SETTINGS, "the base"),
        ({"data_digests": {}}, SETTINGS | {"model_type": "lora"}, "the base"),
    ],
)
def test_training_goes_on_from_the_champion_unless_it_is_what_the_run_would_make(tuned, changes, settings, started):
    champion = replace(tuned, **{"data_digests": DATA, "settings": SETTINGS, **changes})
    found = start_from("3", champion, base_digest=tuned.base_digest, data=DATA, settings=settings)
    expected = {"the champion": champion.digest(), "the base": "none"}.get(started, started)
    assert found.digest() == expected
