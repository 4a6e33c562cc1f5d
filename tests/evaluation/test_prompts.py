import json

import pytest

from sanaflow.config import EvaluationSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.evaluation.prompts import evaluation_prompts

NOTHING = ValidationSettings()


def encoded(encode_sets, **more):
    pictures = {"train": {f"{letter}.png": (64, 64) for letter in "abcdefgh"}}
    return encode_sets(pictures | more)


def test_captions_are_picked_evenly_where_no_prompts_are_given(encode_sets):
    caches = encoded(encode_sets)
    picked = evaluation_prompts(*caches, EvaluationSettings(evaluation_prompts_limit=4), NOTHING)
    assert picked == [("captions", letter) for letter in "aceg"]
    assert len(evaluation_prompts(*caches, EvaluationSettings(), NOTHING)) == 8


def test_captions_of_held_out_pictures_come_first(encode_sets):
    caches = encoded(encode_sets, eval={"y.png": (64, 64), "z.png": (64, 64)})
    assert evaluation_prompts(*caches, EvaluationSettings(), NOTHING) == [
        ("held-out captions", "y"),
        ("held-out captions", "z"),
    ]


def test_prompts_come_by_group_and_none_twice(encode_sets):
    groups = {"new": ["a pear", "a pear"], "old": ["a bus"]}
    settings = EvaluationSettings(evaluation_prompts=groups)
    assert evaluation_prompts(*encoded(encode_sets), settings, NOTHING) == [("new", "a pear"), ("old", "a bus")]


def test_validation_prompts_can_be_scored(encode_sets):
    caches, settings = encoded(encode_sets), EvaluationSettings(evaluation_prompts="validation")
    library = ValidationSettings(user_prompt_library={"bus": "a bus"})
    assert evaluation_prompts(*caches, settings, library) == [("validation", "a bus")]
    with pytest.raises(InputError, match=r"set validation\.user_prompt_library"):
        evaluation_prompts(*caches, settings, NOTHING)


def test_prompts_are_read_from_a_table_with_their_category(tmp_path):
    table = tmp_path / "parti.tsv"
    table.write_text('Prompt\tCategory\tChallenge\na bus\tVehicles\tBasic\n"a pear, cut"\t\tBasic\n')
    groups = EvaluationSettings(evaluation_prompts=str(table)).evaluation_prompts
    assert groups == {"Vehicles": ("a bus",), "prompts": ("a pear, cut",)}


def test_prompts_are_read_from_json(tmp_path):
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps(["a bus", "a pear"]))
    assert EvaluationSettings(evaluation_prompts=str(file)).listed_prompts() == ["a bus", "a pear"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("prompts.tsv", "Words\na bus\n", "has no column 'Prompt'"),
        ("prompts.tsv", "Prompt\n\n", "has no column 'Prompt'"),
        ("prompts.tsv", "Prompt\tCategory\n \tVehicles\n", "none of them blank"),
        ("prompts.json", "{", "is not JSON"),
        ("prompts.json", '{"old": []}', "at least one prompt"),
    ],
)
def test_a_file_that_holds_no_prompts_is_one_line(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=said):
        EvaluationSettings(evaluation_prompts=str(tmp_path / name))


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.tsv' can't be read \(No such file"):
        EvaluationSettings(evaluation_prompts=str(tmp_path / "nothing.tsv"))
