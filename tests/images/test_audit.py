from pathlib import Path

import pytest
import skimage
from PIL import Image, ImageFilter

from sanaflow.config import QualitySettings
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images import audit
from sanaflow.images.scan import scan_datasets

DATA = Path(skimage.__file__).parent / "data"


@pytest.fixture
def album(tmp_path):
    """Two clean photographs, one of them twice in two sizes, one blurred."""
    folder = tmp_path / "album"
    folder.mkdir()
    astronaut, coffee = (Image.open(DATA / f"{name}.png").convert("RGB") for name in ("astronaut", "coffee"))
    astronaut.save(folder / "astronaut.png")
    astronaut.resize((400, 400), Image.Resampling.LANCZOS).save(folder / "smaller.jpg", quality=85)
    coffee.save(folder / "coffee.png")
    Image.open(DATA / "chelsea.png").convert("RGB").filter(ImageFilter.GaussianBlur(5)).save(folder / "blurred.png")
    return folder


def look(folder, tmp_path, **quality):
    dataset = DatasetSettings(id="set", instance_data_dir=str(folder), crop_style="face")
    return scan_datasets([dataset], folder=tmp_path / "index", quality=QualitySettings(**quality))


def test_without_limits_everything_stays_and_is_reported(album, tmp_path, capsys):
    table = look(album, tmp_path)
    rows = table.pictures.set_index("file")
    assert table.rejected.empty
    assert rows["blur"].idxmax() == "blurred.png"
    assert rows["duplicates"].to_dict() == {"astronaut.png": 0, "smaller.jpg": 0, "coffee.png": -1, "blurred.png": -1}
    assert "1 by blur" in capsys.readouterr().out
    assert audit.worst_sheet(table.pictures).width > 500
    assert audit.duplicates_sheet(table.pictures) is not None


def test_limits_leave_pictures_out_with_the_reason(album, tmp_path):
    table = look(album, tmp_path, max_blur=audit.CONSPICUOUS["blur"], drop_near_duplicates=True)
    reasons = dict(zip(table.rejected["file"], table.rejected["reason"], strict=True))
    assert set(reasons) == {"blurred.png", "smaller.jpg"}
    assert reasons["smaller.jpg"] == "a near-duplicate of astronaut.png"
    assert reasons["blurred.png"].startswith("its blur is 0.")
    with pytest.raises(InputError, match=r"leaves no picture, for example .*: its contrast is .*; change"):
        look(album, tmp_path, min_contrast=1.1)


def test_a_picture_is_measured_once(album, tmp_path, monkeypatch):
    first = look(album, tmp_path)
    monkeypatch.setattr(audit, "_quality_of", lambda data: pytest.fail("measured again"))
    monkeypatch.setattr(audit, "_face_of", lambda data: pytest.fail("looked for a face again"))
    assert look(album, tmp_path).pictures["blur"].tolist() == first.pictures["blur"].tolist()


def test_the_astronauts_face_is_found_and_a_cup_has_none(album, tmp_path):
    rows = look(album, tmp_path).pictures.set_index("file")
    assert rows.at["astronaut.png", "face_x"] == pytest.approx(0.44, abs=0.04)
    assert rows.at["astronaut.png", "face_y"] == pytest.approx(0.23, abs=0.06)
    assert rows.loc["coffee.png", ["face_x", "face_y"]].isna().all()


def test_quality_changes_no_identity(album, tmp_path):
    assert look(album, tmp_path).digest() == look(album, tmp_path, audit=False).digest()
