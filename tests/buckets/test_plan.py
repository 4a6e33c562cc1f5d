import pandas as pd
import pytest
from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import ASPECT_RATIO_512_BIN, ASPECT_RATIO_1024_BIN
from diffusers.pipelines.sana.pipeline_sana import ASPECT_RATIO_4096_BIN

from sanaflow.buckets.plan import cover, middle, nearest_bucket, plan_crops
from sanaflow.buckets.tables import buckets_for
from sanaflow.config import DatasetSettings
from sanaflow.errors import InputError


def plan(sizes, **settings):
    pictures = pd.DataFrame([("set", str(i), *size, 0) for i, size in enumerate(sizes)])
    pictures.columns = ["dataset", "id", "width", "height", "repeats"]
    dataset = DatasetSettings(id="set", instance_data_dir="x", **settings)
    return plan_crops(pictures, [dataset], alignment=32)


@pytest.mark.parametrize(
    ("resolution", "table"), [(512, ASPECT_RATIO_512_BIN), (1024, ASPECT_RATIO_1024_BIN), (4096, ASPECT_RATIO_4096_BIN)]
)
def test_sanas_own_sizes_are_used_where_it_has_them(resolution, table):
    assert set(buckets_for(resolution, 32)) == {(int(w), int(h)) for h, w in table.values()}


@pytest.mark.parametrize(
    ("resolution", "alignment"), [(64, 8), (256, 32), (768, 32), (1536, 32), (1024, 64), (128, 16)]
)
def test_other_sizes_divide_and_keep_the_area(resolution, alignment):
    sizes = buckets_for(resolution, alignment)
    assert (resolution, resolution) in sizes
    assert all(side % alignment == 0 for size in sizes for side in size)
    for width, height in sizes:  # rounding a side moves it by at most half the alignment
        slack = alignment / 2 * (width + height) + alignment**2 / 4 + 0.11 * resolution**2
        assert abs(width * height - resolution**2) <= slack


def test_a_resolution_that_does_not_divide_names_the_ones_that_do():
    with pytest.raises(InputError, match=r"resolution 1000 can't be divided by 32.*use 992 or 1024"):
        plan([(100, 100)], resolution=1000)


@pytest.mark.parametrize(
    ("size", "bucket"),
    [((1920, 1080), (1344, 768)), ((1080, 1920), (768, 1344)), ((500, 500), (1024, 1024)), ((900, 4000), (512, 2048))],
)
def test_the_nearest_bucket_treats_tall_and_wide_alike(size, bucket):
    assert nearest_bucket(size, buckets_for(1024, 32)) == bucket


@pytest.mark.parametrize("size", [(1920, 1080), (33, 4000), (1, 1), (3000, 2999), (641, 480)])
@pytest.mark.parametrize("crop_aspect", ["preserve", "square"])
def test_every_crop_lies_inside_and_fills_its_bucket(size, crop_aspect):
    [row] = plan([size], resolution=512, crop_aspect=crop_aspect).crops.itertuples()
    assert 0 <= row.left < row.right <= row.resize_width
    assert 0 <= row.top < row.bottom <= row.resize_height
    assert (row.right - row.left, row.bottom - row.top) == (row.width, row.height)
    assert row.resize_width == row.width or row.resize_height == row.height  # nothing larger than needed


def test_cover_keeps_the_aspect_ratio_to_a_pixel():
    assert cover((1920, 1080), (1344, 768)) == (1365, 768)
    assert middle((1365, 768), (1344, 768)) == (10, 0, 1354, 768)


def test_square_takes_the_middle_square():
    [row] = plan([(200, 100)], resolution=64, crop_aspect="square").crops.itertuples()
    assert (row.resize_width, row.resize_height, row.left, row.right) == (128, 64, 32, 96)


def test_the_digest_follows_the_rows():
    assert plan([(200, 100)]).digest() == plan([(200, 100)]).digest() != plan([(100, 200)]).digest()
