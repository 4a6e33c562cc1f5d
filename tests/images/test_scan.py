import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.scan import scan_datasets


@pytest.fixture
def scan(tmp_path_factory):
    index = tmp_path_factory.mktemp("index")

    def run(folder, **settings):
        return scan_datasets([DatasetSettings(id="set", instance_data_dir=str(folder), **settings)], folder=index)

    return run


def reasons(table) -> dict[str, str]:
    return dict(zip(table.rejected["file"], table.rejected["reason"], strict=True))


def test_a_picture_is_identified_by_its_bytes(make_pictures, scan):
    folder = make_pictures({"sub/red_ball.png": (40, 30)})
    [row] = scan(folder).pictures.to_dict("records")
    assert row["id"] == hashlib.sha256((folder / "sub/red_ball.png").read_bytes()).hexdigest()
    assert (row["width"], row["height"], row["captions"], row["file"]) == (40, 30, ["red ball"], "sub/red_ball.png")


def test_size_is_what_a_viewer_shows_after_exif_orientation(tmp_path, scan):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert scan(tmp_path).pictures[["width", "height"]].to_numpy().tolist() == [[30, 40]]


def test_a_truncated_jpeg_is_left_out_and_the_others_stay(make_pictures, capsys, scan):
    folder = make_pictures({"good.jpg": (64, 64), "torn.jpg": (64, 64)})
    (folder / "torn.jpg").write_bytes((folder / "torn.jpg").read_bytes()[:-300])
    (folder / "text.png").write_text("no picture")
    table = scan(folder)
    assert table.pictures["file"].tolist() == ["good.jpg"]
    assert "truncated" in reasons(table)["torn.jpg"]
    assert reasons(table)["text.png"] == "not a picture that can be read"
    assert "set: 1 pictures, 2 files left out\n  text.png: not a picture that can be read" in capsys.readouterr().out


def test_a_missing_or_empty_caption_file_is_reported_by_name(make_pictures, scan):
    folder = make_pictures({"a.png": (8, 8), "b.png": (8, 8), "c.png": (8, 8)})
    (folder / "a.txt").write_text("one\n\n two \n")
    (folder / "b.txt").write_text("\n")
    table = scan(folder, caption_strategy="textfile")
    assert table.pictures["captions"].tolist() == [["one", "two"]]
    assert "b.txt is empty" in reasons(table)["b.png"]
    assert "c.txt is missing" in reasons(table)["c.png"]


def test_the_same_bytes_are_one_picture_with_all_captions(make_pictures, scan):
    folder = make_pictures({"apple.png": (8, 8)})
    (folder / "fruit.png").write_bytes((folder / "apple.png").read_bytes())
    table = scan(folder)
    assert table.pictures["captions"].tolist() == [["apple", "fruit"]]
    assert "same bytes as apple.png" in reasons(table)["fruit.png"]


def test_a_png_and_a_jpg_of_one_name_are_two_pictures(make_pictures, scan):
    table = scan(make_pictures({"a.png": (8, 8), "a.jpg": (8, 8)}))
    assert table.pictures["id"].nunique() == 2


@pytest.mark.parametrize("make", [lambda p: None, lambda p: (p / "notes.md").write_text("hello")])
def test_a_folder_without_pictures_is_refused_with_its_name(tmp_path, make, scan):
    make(tmp_path)
    with pytest.raises(InputError, match=rf"dataset 'set': instance_data_dir '{tmp_path}' holds no pictures"):
        scan(tmp_path)


def test_a_folder_of_broken_pictures_is_refused_with_an_example(tmp_path, scan):
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(InputError, match=r"no usable picture: all 1 were left out, for example a\.png"):
        scan(tmp_path)


def test_a_missing_folder_is_refused(tmp_path, scan):
    with pytest.raises(InputError, match="is not a folder"):
        scan(tmp_path / "nowhere")


def test_nothing_is_written_into_the_users_folder(make_pictures, scan):
    folder = make_pictures({"a.png": (8, 8)})
    before = {p: p.stat().st_mtime_ns for p in [folder, *folder.rglob("*")]}
    folder.chmod(0o555)
    scan(folder)
    assert {p: p.stat().st_mtime_ns for p in [folder, *folder.rglob("*")]} == before


def test_the_digest_ignores_names_and_places_but_not_captions(make_pictures, scan):
    folder = make_pictures({"a.png": (8, 8)})
    settings = {"caption_strategy": "instanceprompt", "instance_prompt": "a dot"}
    before = scan(folder, **settings).digest()
    (folder / "a.png").rename(folder / "b.png")
    assert scan(folder, **settings).digest() == before
    assert scan(folder).digest() != before
    assert scan(folder, **settings, repeats=1).digest() != before


def test_hidden_folders_are_passed_over_and_links_to_folders_followed_once(make_pictures, tmp_path, scan):
    folder = make_pictures({"a.png": (8, 8), ".ipynb_checkpoints/a-checkpoint.png": (8, 8)})
    linked = make_pictures({"b.png": (9, 9)}, folder="elsewhere", seed=1)
    (folder / "link").symlink_to(linked, target_is_directory=True)
    (linked / "back").symlink_to(folder, target_is_directory=True)
    assert scan(folder).pictures["file"].tolist() == ["a.png", "link/b.png"]


def test_names_that_are_not_utf8_and_folders_for_captions_are_reported(make_pictures, scan):
    folder = make_pictures({"a.png": (8, 8), "b.png": (8, 8)})
    (folder / "a.txt").write_text("a dot")
    (folder / "b.txt").mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes((folder / "a.png").read_bytes())
    table = scan(folder, caption_strategy="textfile")
    assert table.pictures["file"].tolist() == ["a.png"]
    assert sorted(table.rejected["reason"]) == [
        "its caption file b.txt is missing",
        "its name is not UTF-8: rename it",
    ]
