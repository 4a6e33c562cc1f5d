from dataclasses import replace

from sanaflow.model.champion import Champion, as_champion


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
