import math

import numpy as np
import pytest

from sanaflow.buckets.aligned import round_half_even
from sanaflow.buckets.geometry import TooNarrow, TooSmall, plan_crop, plan_many
from sanaflow.datasets import DatasetSettings

SEED_512 = {"resolution": 512, "minimum_image_size": 512, "maximum_image_size": 512, "target_downsample_size": 512,
            "resolution_type": "pixel_area", "crop": True, "crop_aspect": "square"}  # fmt: skip
SEED_1024 = {"resolution": 1024, "minimum_image_size": 1024, "maximum_image_size": 1024,
             "target_downsample_size": 1024, "resolution_type": "pixel_area", "crop": False}  # fmt: skip
AREA_1024 = {"resolution": 1024, "resolution_type": "pixel_area", "crop": True}
DOWN_1280 = AREA_1024 | {"maximum_image_size": 1536, "target_downsample_size": 1280}
PIXEL_1024 = {"resolution": 1024, "resolution_type": "pixel", "crop": False}

# What SimpleTuner 4.10.1 gave when it was run: (settings, size, resized to, target, crop (left, top), bucket)
SIMPLETUNER = [
    (SEED_512, (1920, 1080), (910, 512), (512, 512), (199, 0), "1.0"),
    (SEED_1024, (1920, 1080), (1365, 768), (1344, 768), (10, 0), "1.75"),
    (SEED_1024, (1000, 1500), (853, 1280), (832, 1280), (10, 0), "0.65"),
    (SEED_1024, (4000, 3000), (1194, 896), (1152, 896), (21, 0), "1.29"),
    (SEED_512 | {"crop": False}, (768, 512), (672, 448), (640, 448), (16, 0), "1.43"),
    (AREA_1024 | {"crop_aspect": "preserve"}, (2500, 1667), (1280, 854), (1280, 832), (0, 11), "1.54"),
    (DOWN_1280 | {"crop_aspect": "square"}, (4000, 3000), (1472, 1104), (1024, 1024), (224, 40), "1.0"),
    (AREA_1024 | {"crop_aspect": "closest", "crop_aspect_buckets": [1.0, 0.75, 1.23]},
     (1920, 1080), (1592, 896), (1152, 896), (220, 0), "1.29"),
    (AREA_1024 | {"crop_aspect": "preserve"}, (2000, 500), (2048, 512), (2048, 512), (0, 0), "4.0"),
    ({"resolution": 0.5, "resolution_type": "area", "crop": False},
     (1920, 1080), (960, 540), (960, 512), (0, 14), "1.88"),
    (PIXEL_1024, (1920, 1080), (1820, 1024), (1792, 1024), (14, 0), "1.75"),
    (PIXEL_1024, (600, 500), (1228, 1024), (1216, 1024), (6, 0), "1.19"),
    ({"resolution": 512, "resolution_type": "pixel", "crop": True, "crop_aspect": "preserve",
      "maximum_image_size": 1024, "target_downsample_size": 768},
     (1920, 1080), (1365, 768), (896, 512), (234, 128), "1.75"),
]  # fmt: skip


def dataset(**settings):
    return DatasetSettings(**{"id": "set", "instance_data_dir": "x"} | settings)


@pytest.mark.parametrize(("settings", "size", "resize", "target", "crop", "bucket"), SIMPLETUNER)
def test_aligned_buckets_are_simpletuners(settings, size, resize, target, crop, bucket):
    planned = plan_crop(*size, dataset(**settings))
    assert (planned.resize, planned.target, planned.crop, planned.bucket) == (resize, target, crop, bucket)


@pytest.mark.parametrize(("settings", "size"), [(SEED_512, (600, 500)), (SEED_1024, (1023, 1024))])
def test_pictures_below_the_minimum_are_too_small(settings, size):
    with pytest.raises(TooSmall, match="smaller than 'minimum_image_size'"):
        plan_crop(*size, dataset(**settings))


def test_the_minimum_itself_is_large_enough():
    assert plan_crop(512, 512, dataset(**SEED_512)).target == (512, 512)


def test_maximum_image_size_is_a_threshold():
    settings = DOWN_1280 | {"crop_aspect": "preserve"}
    assert plan_crop(1920, 1080, dataset(**settings)).resize == (
        1365,
        768,
    )  # below 1536 x 1536 pixels: not resized twice
    assert plan_crop(3840, 2160, dataset(**settings)).resize == (1728, 972)


def test_the_resized_picture_covers_the_square_where_simpletuners_falls_short():
    planned = plan_crop(1920, 1080, dataset(resolution=0.5, resolution_type="area", crop=True, crop_aspect="square"))
    assert planned.target == (768, 768)
    assert planned.resize[1] == 768
    assert planned.resize[0] == pytest.approx(768 * 16 / 9, abs=2)


def test_where_rounding_collides_one_size_is_taken_whichever_picture_comes_first():
    settings = dataset(resolution=2048, resolution_type="pixel_area", crop=False)
    sizes = {plan_crop(w, 4000, settings).target for w in range(990, 1030)}
    by_bucket = [plan_crop(w, 4000, settings) for w in range(990, 1030)]
    assert {p.target for p in by_bucket if p.bucket == "0.25"} == {(1024, 4096)}
    assert len(sizes) == len({p.bucket for p in by_bucket})


def test_limits_of_aspect_ratio_leave_whole_buckets_out():
    with pytest.raises(TooNarrow, match="wider than 'maximum_aspect_ratio' 3"):
        plan_crop(2000, 500, dataset(**AREA_1024, crop_aspect="preserve", maximum_aspect_ratio=3))
    with pytest.raises(TooNarrow, match=r"narrower than 'minimum_aspect_ratio' 0\.5"):
        plan_crop(500, 2000, dataset(**AREA_1024, crop_aspect="preserve", minimum_aspect_ratio=0.5))
    for extreme in ((3, 4000), (40_000, 3)):
        with pytest.raises(TooNarrow, match="a hundred times"):
            plan_crop(*extreme, dataset(**AREA_1024, crop_aspect="preserve"))


def test_enlarging_can_be_limited():
    settings = dataset(**PIXEL_1024, max_upscale_threshold=0.2)
    assert plan_crop(1000, 900, settings).target == (1152, 1024)
    with pytest.raises(TooSmall, match="enlarged by more than"):
        plan_crop(1000, 800, settings)


CASES = [
    SEED_512, SEED_1024, DOWN_1280, PIXEL_1024, {}, {"crop_aspect": "square"}, {"resolution": 768},
    {"resolution": 0.25, "resolution_type": "area", "crop": True},
    AREA_1024 | {"crop_aspect": "random", "crop_style": "random", "random_crops": 3,
                 "crop_aspect_buckets": [{"aspect": 1.0, "weight": 0.2}, {"aspect": 0.75, "weight": 0.8}]},
    {"crop_style": "random", "aspect_bucket_rounding": 1, "resolution_type": "pixel_area"},
]  # fmt: skip


@pytest.mark.parametrize("settings", CASES)
def test_a_column_gives_the_same_rows_as_one_at_a_time(settings):
    settings = dataset(**settings)
    noise = np.random.default_rng(0)
    sizes = np.concatenate([noise.integers(300, 5000, (300, 2)), [(s, s) for s in (512, 1024, 1000)]])
    ids = [f"{i:064x}" for i in range(len(sizes))]
    together = plan_many(sizes, settings, pictures=ids, variant=0, seed=7)
    for i, (width, height) in enumerate(sizes.tolist()):
        try:
            one = plan_crop(width, height, settings, picture=ids[i], seed=7)
        except (TooSmall, TooNarrow) as error:
            assert str(together.reasons[together.reason[i]]) == str(error)
            continue
        assert together.reason[i] == -1
        assert (*one.target, *one.resize, *one.crop) == (*together.target[i], *together.resize[i], *together.crop[i])
        assert one.bucket == together.bucket[i]


@pytest.mark.parametrize("settings", CASES)
def test_every_crop_lies_inside_a_picture_of_its_own_shape(settings):
    noise = np.random.default_rng(1)
    sizes = noise.integers(520, 5000, (2000, 2))
    crops = plan_many(sizes, dataset(**settings), pictures=[str(i) for i in range(len(sizes))])
    assert (crops.resize >= crops.target).all()
    assert (crops.crop >= 0).all()
    assert (crops.crop + crops.target <= crops.resize).all()
    largest, smallest = ((crops.resize - 2) / sizes).max(axis=1), ((crops.resize + 2) / sizes).min(axis=1)
    assert (largest <= smallest).all()  # one scale for both sides, to two pixels: nothing is squeezed


def test_rounding_is_pythons_to_the_last_tie():
    width, height = np.meshgrid(np.arange(1, 900), np.arange(1, 300))
    values = (width / height).ravel()
    for decimals in (1, 2):
        assert round_half_even(values.copy(), decimals).tolist() == [round(v, decimals) for v in values.tolist()]


def test_random_crops_are_functions_of_seed_picture_and_showing():
    settings = dataset(**AREA_1024, crop_aspect="square", crop_style="random", random_crops=4)

    def lefts(**changed):
        return [plan_crop(3000, 1024, settings, **{"picture": str(i), **changed}).crop[0] for i in range(50)]

    assert lefts() == lefts() == lefts(showing=4)
    assert lefts() != lefts(showing=1)
    assert lefts() != lefts(seed=1)
    places = np.array([plan_crop(3000, 1024, settings, picture=str(i)).crop[0] for i in range(2000)]) / (3000 - 1024)
    assert places.min() >= 0
    assert places.max() <= 1
    assert abs(places.mean() - 0.5) < 4 / math.sqrt(12 * 2000)


def test_random_aspects_follow_their_weights():
    settings = dataset(**CASES[8])
    targets = [plan_crop(1000, 1000, settings, picture=str(i)).bucket for i in range(2000)]
    assert targets.count("1.0") / 2000 == pytest.approx(0.2, abs=0.04)
    assert set(targets) == {"1.0", "0.78"}


def test_a_face_is_in_the_middle_as_far_as_the_picture_goes():
    settings = dataset(**AREA_1024, crop_aspect="square", crop_style="face")
    assert plan_crop(3000, 1024, settings, focus=(0.5, 0.5)).crop == (988, 0)
    assert plan_crop(3000, 1024, settings, focus=(0.75, 0.2)).crop == (1738, 0)
    assert plan_crop(3000, 1024, settings, focus=(0.99, 0.2)).crop == (1976, 0)
    assert plan_crop(3000, 1024, settings).crop == (988, 0)
