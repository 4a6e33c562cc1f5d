"""A folder as people really have them: every odd file is handled as one would expect, or listed with its reason."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sanaflow.buckets.plan import plan_crops
from sanaflow.datasets import DatasetSettings
from sanaflow.images.decode import read_upright
from sanaflow.images.scan import scan_datasets


def scene(mode="RGB", size=(64, 48)):
    noise = np.random.default_rng(5).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def saved(picture, kind, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 10^10 pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    written = [struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


@pytest.fixture
def attic(tmp_path):
    """The folder."""
    folder = tmp_path / "attic"
    (folder / "deep/er").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    transparent = scene("RGBA")
    transparent.putalpha(Image.new("L", (64, 48), 0))
    palette = scene("P")
    palette.info["transparency"] = 0
    with_thumbnail = Image.Exif()
    with_thumbnail[0x010E] = "x" * 3000 + "\xff\xd9"
    whole = {
        "plain.jpg": saved(scene(), "JPEG"),
        "progressive.JPG": saved(scene(), "JPEG", progressive=True, quality=80),
        "trailing.jpg": saved(scene(), "JPEG", quality=70) + b"appended by a camera",
        "is a png.jpg": saved(scene(size=(60, 40)), "PNG"),
        "cmyk.jpg": saved(scene("CMYK"), "JPEG"),
        "deep/er/sixteen bits.png": saved(Image.fromarray(np.full((8, 9), 40_000, np.uint16)), "PNG"),
        "see through.png": saved(transparent, "PNG"),
        "palette.png": saved(palette, "PNG", transparency=0),
        "grey.tiff": saved(scene("L"), "TIFF"),
        "turned.jpg": saved(scene(), "JPEG", exif=exif, quality=60),
        "modern.avif": saved(scene(), "AVIF"),
        "modern.webp": saved(scene(), "WEBP"),
        "still.gif": saved(scene("P"), "GIF"),
        "ünïcödé 图.png": saved(scene(size=(30, 30)), "PNG"),
    }
    torn = saved(scene(size=(640, 480)), "JPEG", exif=with_thumbnail)
    frames = [scene("P"), scene("P").rotate(90)]
    odd = {
        "moving.gif": (saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), "it is animated"),
        "moving.webp": (saved(scene(), "WEBP", save_all=True, append_images=[scene().rotate(90)]), "it is animated"),
        "torn.jpg": (torn[: len(torn) // 2], "truncated"),
        "torn.png": (saved(scene(), "PNG")[:-40], "truncated"),
        "torn.webp": (saved(scene(), "WEBP")[:-40], ""),
        "torn.tiff": (saved(scene(), "TIFF")[:-2000], "truncated"),
        "empty.jpg": (b"", "the file is empty"),
        "text.png": (b"this is no picture", "not a picture that can be read"),
        "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture that can be read"),
        "bomb.png": (bomb(), "pixels: make it smaller"),
        "phone.heic": (b"\x00\x00\x00\x18ftypheic", "HEIC can't be read: convert it"),
        "film.mp4": (b"\x00\x00\x00\x18ftypmp42", "not a picture, by its name"),
    }
    for name, data in (whole | {name: data for name, (data, _) in odd.items()}).items():
        (folder / name).write_bytes(data)
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (tmp_path / "outside.png").write_bytes(saved(scene(size=(50, 50)), "PNG"))
    (folder / "linked.png").symlink_to(tmp_path / "outside.png")
    (folder / "notes.txt").write_text("beside")
    (folder / ".hidden.png").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.png")).write_bytes(whole["plain.jpg"])
    reasons = {name: reason for name, (_, reason) in odd.items()}
    return folder, {*whole, "linked.png"}, reasons | {"gone.png": "a link to nothing", "bad�.png": "is not UTF-8"}


def scan(folder, index, **settings):
    dataset = DatasetSettings(id="attic", instance_data_dir=str(folder), **{"resolution": 64} | settings)
    return scan_datasets([dataset], folder=index), dataset


def test_every_file_is_used_or_named_with_its_reason(attic, tmp_path):
    folder, whole, reasons = attic
    before = {p: p.lstat().st_mtime_ns for p in [folder, *folder.rglob("*")]}
    table, dataset = scan(folder, tmp_path / "index")
    assert set(table.pictures["file"]) == whole
    found = dict(zip(table.rejected["file"], table.rejected["reason"], strict=True))
    assert set(found) == set(reasons)
    assert {name: reasons[name] in found[name] for name in reasons} == dict.fromkeys(reasons, True)
    assert {p: p.lstat().st_mtime_ns for p in [folder, *folder.rglob("*")]} == before
    assert len(plan_crops(table.pictures, [dataset], alignment=8).crops) == len(whole)


def test_sizes_from_headers_are_those_of_the_decoded_pictures(attic, tmp_path):
    table, _ = scan(attic[0], tmp_path / "index")
    for row in table.pictures.itertuples():
        assert read_upright(Path(row.uri).read_bytes()).size == (row.width, row.height), row.file


def test_strict_refuses_the_run_and_names_a_file(attic, tmp_path):
    from sanaflow.errors import InputError

    with pytest.raises(InputError, match=r"'strict: true', and \d+ were left out, for example "):
        scan(attic[0], tmp_path / "index", strict=True)


def test_damaged_files_of_every_format_never_end_the_scan(attic, tmp_path):
    folder, whole, _ = attic
    noise = np.random.default_rng(0)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for name in (*sorted(whole - {"linked.png"}), "moving.gif", "moving.webp"):
        data = (folder / name).read_bytes()
        for number in range(40):
            changed = bytearray(data[: noise.integers(1, len(data))] if number % 2 else data)
            for place in noise.integers(0, min(len(changed), 200), 4):
                changed[place] = noise.integers(0, 256)
            (damaged / f"{number} {name.replace('/', ' ')}").write_bytes(changed)
    (damaged / "whole.jpg").write_bytes((folder / "plain.jpg").read_bytes())
    table, _ = scan(damaged, tmp_path / "index")
    assert "whole.jpg" in set(table.pictures["file"])
    assert len(table.rejected) > 100


def test_a_pipe_is_no_picture_and_a_home_that_is_none_is_said(tmp_path):
    from sanaflow.errors import InputError

    folder = tmp_path / "a"
    folder.mkdir()
    scene().save(folder / "a.png")
    os.mkfifo(folder / "pipe.png")
    table, _ = scan(folder, tmp_path / "index")
    assert table.rejected[["file", "reason"]].to_numpy().tolist() == [["pipe.png", "not a file"]]
    with pytest.raises(InputError, match="'~nobodyatall/x' is not a folder"):
        scan("~nobodyatall/x", tmp_path / "index")


def test_a_very_long_picture_can_be_drawn_with_its_crop(tmp_path):
    from sanaflow.images.crop_sheet import crop_sheet

    (tmp_path / "a").mkdir()
    scene(size=(20_000, 60)).save(tmp_path / "a/strip.png")
    table, dataset = scan(tmp_path / "a", tmp_path / "index", crop_aspect="square")
    plan = plan_crops(table.pictures, [dataset], alignment=8)
    assert crop_sheet(plan.crops, table.uri_of()) is not None


def test_the_pictures_of_a_motion_photo_are_its_first(tmp_path):
    (tmp_path / "a").mkdir()
    scene().save(tmp_path / "a/motion.jpg", "MPO", save_all=True, append_images=[scene().rotate(180)])
    table, _ = scan(tmp_path / "a", tmp_path / "index")
    assert table.pictures[["width", "height"]].to_numpy().tolist() == [[64, 48]]
