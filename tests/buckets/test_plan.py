import pandas as pd
import pytest
from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import ASPECT_RATIO_512_BIN, ASPECT_RATIO_1024_BIN
from diffusers.pipelines.sana.pipeline_sana import ASPECT_RATIO_4096_BIN

from sanaflow.buckets.plan import bucket_table, plan_crops, plan_parquet, plan_rows
from sanaflow.buckets.tables import buckets_for
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError


def table(sizes, dataset="set"):
    pictures = pd.DataFrame([(dataset, f"{i:064x}", *size, 0) for i, size in enumerate(sizes)])
    pictures.columns = ["dataset", "id", "width", "height", "repeats"]
    return pictures


def settings(**changed):
    return DatasetSettings(**{"id": "set", "instance_data_dir": "x"} | changed)


def plan(sizes, batch=1, oversubscribe=False, **changed):
    dataset = settings(**changed)
    pictures = table(sizes).assign(repeats=dataset.repeats)
    return plan_crops(pictures, [dataset], alignment=32, batch=batch, oversubscribe=oversubscribe)


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
def test_the_nearest_of_sanas_buckets_treats_tall_and_wide_alike(size, bucket):
    [row] = plan([size]).crops.itertuples()
    assert (row.width, row.height) == bucket


@pytest.mark.parametrize("size", [(1920, 1080), (33, 4000), (1, 1), (3000, 2999), (641, 480)])
@pytest.mark.parametrize("crop_aspect", ["preserve", "square"])
def test_every_crop_lies_inside_and_fills_its_bucket(size, crop_aspect):
    [row] = plan([size], resolution=512, crop_aspect=crop_aspect).crops.itertuples()
    assert 0 <= row.left < row.right <= row.resize_width
    assert 0 <= row.top < row.bottom <= row.resize_height
    assert (row.right - row.left, row.bottom - row.top) == (row.width, row.height)
    assert row.resize_width == row.width or row.resize_height == row.height  # nothing larger than needed


def test_square_takes_the_middle_square():
    [row] = plan([(200, 100)], resolution=64, crop_aspect="square").crops.itertuples()
    assert (row.resize_width, row.resize_height, row.left, row.right) == (128, 64, 32, 96)


def test_the_digest_follows_the_rows():
    assert plan([(200, 100)]).digest() == plan([(200, 100)]).digest() != plan([(100, 200)]).digest()


def test_a_bucket_that_cannot_fill_a_batch_is_refused_with_what_would_do():
    sizes = [(500, 500)] * 4 + [(900, 500)] * 3
    with pytest.raises(InputError, match=r"1 of the buckets can't fill a batch of 4 .* with 3 samples") as refused:
        plan(sizes, batch=4, resolution=512)
    assert "set 'set' repeats: 1; or bring train_batch_size * gradient_accumulation_steps down to 3" in str(
        refused.value
    )
    assert len(plan(sizes, batch=4, resolution=512, repeats=1).crops) == 7
    assert len(plan(sizes, batch=3, resolution=512).crops) == 7


def test_oversubscription_repeats_the_pictures_of_small_buckets_only():
    planned = plan([(500, 500)] * 4 + [(900, 500)] * 3, batch=4, oversubscribe=True, resolution=512).crops
    assert planned["repeats"].tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_sets_that_are_never_shown_fill_no_batch():
    never = settings(id="never", resolution=512, probability=0)
    pictures = pd.concat([table([(500, 500)] * 2), table([(500, 500)] * 10, dataset="never")])
    sets = [settings(resolution=512), never]
    with pytest.raises(InputError, match="with 2 samples in an epoch: set 'set' repeats: 1"):
        plan_crops(pictures, sets, alignment=32, batch=4)
    planned = plan_crops(pictures, sets, alignment=32, batch=4, oversubscribe=True).crops
    assert planned.query("dataset == 'set'")["repeats"].tolist() == [1, 1]


def test_all_crops_of_a_picture_are_repeated_alike():
    random = {"crop": True, "crop_aspect": "random", "crop_aspect_buckets": [1.0, 0.5, 2.0], "random_crops": 4}
    planned = plan([(900, 900)] * 8, batch=4, oversubscribe=True, resolution=512, **random).crops
    assert (planned.groupby("id")["repeats"].nunique() == 1).all()
    assert (bucket_table(planned)["samples"] >= 4).all()


def test_what_the_settings_leave_out_is_listed_and_told(capsys):
    planned = plan([(600, 600), (100, 100)], resolution=512, minimum_image_size=512)
    assert planned.filtered["reason"].tolist() == ["smaller than 'minimum_image_size' 512"]
    assert "set: 1 pictures left out: smaller than 'minimum_image_size' 512" in capsys.readouterr().out
    with pytest.raises(InputError, match="no picture is left to train on, for example: smaller than"):
        plan([(100, 100)], resolution=512, minimum_image_size=512)


def test_held_out_pictures_need_fill_no_batch():
    held_out = settings(id="held", dataset_type="eval", resolution=512)
    pictures = pd.concat([table([(500, 500)] * 4), table([(900, 500)], dataset="held")])
    planned = plan_crops(pictures, [settings(resolution=512), held_out], alignment=32, batch=4)
    assert planned.buckets()[["role", "size", "pictures"]].to_numpy().tolist() == [
        ["train", "512x512", 4],
        ["eval", "672x384", 1],
    ]


def test_a_bucket_that_the_model_cannot_take_is_refused():
    with pytest.raises(InputError, match=r"bucket 16x16 can't be divided by 32.*multiples of 32"):
        plan([(16, 16)], resolution=16, resolution_type="pixel_area", aspect_bucket_alignment=16)


def test_random_crops_are_planned_for_several_showings():
    planned = plan([(900, 500), (500, 900)], resolution=512, crop_aspect="square", crop_style="random", random_crops=3)
    assert planned.crops.groupby("id")["variant"].agg(list).tolist() == [[0, 1, 2]] * 2
    assert planned.crops.groupby("id")["left"].nunique().tolist()[0] == 3
    assert planned.buckets()["pictures"].tolist() == [2]


def test_a_table_on_disk_is_planned_a_part_at_a_time_to_the_same_rows(tmp_path):
    pictures = table([(300 + 7 * i % 900, 400 + 11 * i % 700) for i in range(1000)])
    dataset = [settings(resolution=512, crop_style="random")]
    pictures.to_parquet(tmp_path / "table.parquet", row_group_size=77)
    counted = plan_parquet(tmp_path / "table.parquet", tmp_path / "crops.parquet", dataset, alignment=32)
    whole, _ = plan_rows(pictures, dataset, alignment=32)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "crops.parquet"), whole, check_dtype=False)
    expected = bucket_table(whole).sort_values(["role", "size"], ignore_index=True)
    assert counted.sort_values(["role", "size"])[["size", "pictures"]].to_numpy().tolist() == (
        expected[["size", "pictures"]].to_numpy().tolist()
    )
