import pytest

from sanaflow.dataset_parts import CaptionShuffle
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.captions import MissingCaptionError, caption_filter, captions_of, shuffled


def captions(name="red_ball.png", text=None, table=None, given=None, **settings):
    dataset = DatasetSettings(**{"id": "set", "instance_data_dir": "x"} | settings)
    return captions_of(
        name,
        dataset,
        text=lambda asked: {"red_ball.txt": text}.get(asked),
        table=table or {},
        given=given,
        rewrite=caption_filter(dataset, [dataset]),
    )


def test_a_files_name_is_its_caption():
    assert captions("sub/foo-bar__baz.jpeg") == ["foo-bar  baz"]
    assert captions("x.y.png") == ["x.y"]
    with pytest.raises(MissingCaptionError, match="holds no words"):
        captions("___.png")


def test_lines_of_a_text_file_are_captions_unless_kept_together():
    assert captions(text="one\n\n two \n", caption_strategy="textfile") == ["one", "two"]
    assert captions(text="one\ntwo\n", caption_strategy="textfile", disable_multiline_split=True) == ["one\ntwo"]


@pytest.mark.parametrize(("text", "reason"), [(None, "red_ball.txt is missing"), (" \n", "red_ball.txt is empty")])
def test_a_missing_caption_names_its_file(text, reason):
    with pytest.raises(MissingCaptionError, match=reason):
        captions(text=text, caption_strategy="textfile")


def test_instance_prompts_stand_alone_or_in_front():
    assert captions(caption_strategy="instanceprompt", instance_prompt=["sks", "a sks"]) == ["sks", "a sks"]
    assert captions(prepend_instance_prompt=True, instance_prompt="sks") == ["sks red ball"]
    assert captions(only_instance_prompt=True, instance_prompt="sks") == ["sks"]
    assert captions(caption_strategy="instance_prompt", instance_prompt="sks") == [
        "sks"
    ]  # SimpleTuner's other spelling


def test_a_table_is_asked_by_name_with_or_without_ending():
    settings = {"caption_strategy": "parquet", "parquet": {"path": "t.parquet"}}
    assert captions(table={"red_ball": ["a ball"]}, **settings) == ["a ball"]
    with_ending = {
        "caption_strategy": "parquet",
        "parquet": {"path": "t.parquet", "identifier_includes_extension": True},
    }
    assert captions("a/red_ball.png", table={"red_ball.png": ["a ball"]}, **with_ending) == ["a ball"]
    with pytest.raises(MissingCaptionError, match=r"'t\.parquet' has no row for it"):
        captions(table={"other": ["x"]}, **settings)


def test_shuffled_captions_are_the_same_every_time():
    settings = CaptionShuffle(count=3, position_start=1)
    variants = shuffled("who, red, round, small, old", settings)
    assert variants == shuffled("who, red, round, small, old", settings)
    assert variants[0] == "who, red, round, small, old"
    assert len(variants) == 4
    assert all(v.startswith("who, ") for v in variants)
    assert all(sorted(v.split(", ")) == sorted(variants[0].split(", ")) for v in variants)
    assert shuffled("a b c d e f", CaptionShuffle(split_on="space", include_original=False, seed=1)) != ["a b c d e f"]
    assert len(captions(text="a, b, c", caption_strategy="textfile", caption_shuffle={"count": 5})) > 2


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("Photo of", "a ball (v2), photo"),
        ("s/ball/cube/", "Photo of a cube (v2), photo"),
        ("s/ball/cube", "Photo of a cube (v2), photo"),
        ("(v2)", "Photo of a ball , photo"),
        (r"\(v\d\)", "Photo of a ball , photo"),
        ("s/[Pp]hoto/picture/", "picture of a ball (v2), picture"),
    ],
)
def test_the_filter_list_takes_out_or_replaces(item, expected):
    text = "Photo of a ball (v2), photo"
    assert captions(text=text, caption_strategy="textfile", caption_filter_list=[item]) == [expected]


def test_a_filter_list_may_be_a_file_and_may_leave_nothing(tmp_path):
    (tmp_path / "filter.json").write_text('["red", "ball"]')
    with pytest.raises(MissingCaptionError, match="nothing is left"):
        captions(caption_filter_list=str(tmp_path / "filter.json"))
    with pytest.raises(InputError, match=r"'\[' is no regular expression"):
        captions(caption_filter_list=["["])
    with pytest.raises(InputError, match=r"nowhere.txt' can't be read"):
        captions(caption_filter_list="nowhere.txt")


def test_simpletuners_text_embeds_entry_brings_its_filter_list():
    dataset = DatasetSettings(id="set", instance_data_dir="x")
    storage = DatasetSettings(id="text", dataset_type="text_embeds", caption_filter_list=["red "])
    assert caption_filter(dataset, [dataset, storage])("red ball") == "ball"
