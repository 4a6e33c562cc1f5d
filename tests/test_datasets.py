"""Entries of SimpleTuner's multidatabackend.json are entries here; what can't be done is refused in plain words."""

import pytest
import yaml

from sanaflow.buckets.plan import plan_crops
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.images.captions import caption_filter
from sanaflow.images.scan import scan_datasets
from sanaflow.run_yaml import parse_run_settings

SIZES = {"minimum_image_size": 512, "maximum_image_size": 512, "target_downsample_size": 512}


def guides_entries(subject, regularisation):
    """The four entries of SimpleTuner's Sana guide: its keys and values, and folders of our own."""
    square = {"crop": True, "crop_aspect": "square", "crop_style": "center", "resolution": 512, **SIZES}
    prompt = {"caption_strategy": "instanceprompt", "instance_prompt": "the name of your subject goes here"}
    large = {"resolution": 1024, **dict.fromkeys(SIZES, 1024)}
    common = {"type": "local", "resolution_type": "pixel_area", "metadata_backend": "discovery"}
    return [
        {"id": "pseudo-camera-10k-sana", **common, **square, "cache_dir_vae": "cache/vae/sana/pseudo-camera-10k",
         "instance_data_dir": str(regularisation), "disabled": False, "skip_file_discovery": "",
         "caption_strategy": "filename", "repeats": 0, "is_regularisation_data": True},
        {"id": "dreambooth-subject", **common, "crop": False, **large, "cache_dir_vae": "cache/vae/sana/subject",
         "instance_data_dir": str(subject), **prompt, "repeats": 1000},
        {"id": "dreambooth-subject-512", **common, "crop": False, "resolution": 512, **SIZES,
         "cache_dir_vae": "cache/vae/sana/subject-512", "instance_data_dir": str(subject), **prompt, "repeats": 1000},
        {"id": "text-embeds", "type": "local", "dataset_type": "text_embeds", "default": True,
         "cache_dir": "cache/text/sana", "disabled": False, "write_batch_size": 128},
    ]  # fmt: skip


def test_the_guides_own_file_is_accepted_as_it_stands(make_pictures, tmp_path, capsys):
    regularisation = make_pictures({f"a_street_{i}.jpg": (900, 600) for i in range(4)}, folder="regularisation")
    subject = make_pictures({"1.jpg": (1920, 1080), "2.jpg": (1000, 1500), "3.png": (600, 500)}, folder="subject")
    entries = guides_entries(subject, regularisation)
    parameters = {"model": {"pretrained_model_name_or_path": "x"}, "datasets": entries}
    run = parse_run_settings(yaml.safe_load(yaml.safe_dump(parameters)), source="guide.yaml")
    table = scan_datasets(run.datasets, folder=tmp_path / "index")
    plan = plan_crops(table.pictures, run.datasets, alignment=32, batch=4)
    found = plan.crops.groupby("dataset")[["width", "height"]].agg(list).to_dict("index")
    by_dataset = {name: sorted(zip(c["width"], c["height"], strict=True)) for name, c in found.items()}
    assert by_dataset == {
        "pseudo-camera-10k-sana": [(512, 512)] * 4,
        "dreambooth-subject": [(832, 1280), (1344, 768)],  # 600x500 is below its minimum
        "dreambooth-subject-512": [(448, 640), (576, 448), (704, 384)],
    }
    assert set(plan.crops.loc[plan.crops["dataset"] == "pseudo-camera-10k-sana", "role"]) == {"regularisation"}
    assert set(plan.crops["repeats"]) == {0, 1000}
    told = capsys.readouterr().out
    assert "'cache_dir_vae' has no effect here: everything is kept in the artifact store" in told
    assert "'skip_file_discovery' has no effect here" in told


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"aws_secret_access_key": "sesame"}, "a secret doesn't belong into a YAML"),
        ({"start_epoch": 3}, "'start_epoch' would limit the set to a part of the run"),
        ({"type": "aws"}, "'type: aws' needs 'aws_bucket_name'"),
        ({"type": "webshart"}, "should be 'local', 'huggingface', 'aws' or 'csv'"),
        ({"dataset_type": "video"}, "should be 'image', 'eval', 'conditioning' or 'text_embeds'"),
        ({"prepend_instance_prompt": True}, "'prepend_instance_prompt' needs 'instance_prompt'"),
        ({"caption_strategy": "csv"}, "caption_strategy 'csv' needs 'type: csv'"),
        ({"caption_strategy": "parquet"}, "needs 'parquet': say at least its 'path'"),
        ({"resolution": 1024, "resolution_type": "area"}, "is in megapixels under resolution_type 'area'"),
        ({"resolution": 0.5}, "is in pixels and must be a whole number"),
        ({"crop": True, "crop_aspect": "random"}, "needs 'crop_aspect_buckets'"),
        ({"random_crops": 3}, "'random_crops' needs crop_style or crop_aspect 'random'"),
        ({"crop": True, "maximum_image_size": 99}, "'maximum_image_size' needs 'target_downsample_size'"),
        ({"probability": 100}, "should be less than or equal to 1"),
        ({"resolution": 1e200}, "should be less than or equal to 16384"),
        ({"conditioning_data": "masks"}, "which is no enabled 'dataset_type: conditioning' entry"),
        ({"disabled": True}, "there is no dataset to train on"),
        ({"crop_styl": "center"}, "unknown key 'crop_styl' in 'parameters.datasets.0': did you mean 'crop_style'?"),
        ({"parquet": {"path": "x", "fil": 1}}, "unknown key 'fil' in 'parameters.datasets.0.parquet'"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_cannot_be_done_is_refused_in_one_line(entry, message):
    entry = {"id": "set", "instance_data_dir": "x"} | entry
    with pytest.raises(InputError) as refused:
        parse_run_settings({"model": {"pretrained_model_name_or_path": "x"}, "datasets": [entry]}, source="run.yaml")
    assert message in refused.value.message
    assert "sesame" not in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("entry", "aligned", "shape"),
    [
        ({}, False, "preserve"),
        ({"crop_aspect": "square"}, False, "square"),
        ({"crop": True}, True, "square"),
        ({"crop": False, "crop_aspect": "square"}, True, "preserve"),
        ({"crop": True, "crop_aspect": "preserve"}, True, "preserve"),
        ({"resolution_type": "pixel_area"}, True, "preserve"),
        ({"resolution_type": "pixel_area", "crop": True, "buckets": "sana"}, False, "square"),
    ],
)
def test_simpletuners_keys_bring_its_buckets(entry, aligned, shape):
    dataset = DatasetSettings(id="set", instance_data_dir="x", **entry)
    assert (dataset.is_aligned, dataset.shape) == (aligned, shape)


def test_settings_survive_being_written_and_read():
    dataset = DatasetSettings(**guides_entries("a", "b")[0])
    assert DatasetSettings.model_validate_json(dataset.model_dump_json()) == dataset


def test_masks_are_paired_by_path_and_pictures_without_one_named(make_pictures, tmp_path):
    pictures = make_pictures({"a.jpg": (64, 64), "sub/b.jpg": (64, 64), "c.jpg": (64, 64)}, folder="subject")
    masks = make_pictures({"a.png": (64, 64), "sub/b.png": (64, 64)}, folder="masks", seed=1)
    sets = (
        DatasetSettings(id="subject", instance_data_dir=str(pictures), conditioning_data="masks"),
        DatasetSettings(
            id="masks", instance_data_dir=str(masks), dataset_type="conditioning", conditioning_type="mask"
        ),
    )
    table = scan_datasets(sets, folder=tmp_path / "index")
    assert table.pictures["file"].tolist() == ["a.jpg", "sub/b.jpg"]
    assert [uri.rsplit("/masks/")[1] for uri in table.pictures["mask_uri"]] == ["a.png", "sub/b.png"]
    assert table.rejected.to_dict("records") == [
        {"dataset": "subject", "file": "c.jpg", "reason": "it has no mask of its name"}
    ]
    before = table.digest()
    (masks / "a.png").write_bytes((masks / "sub/b.png").read_bytes())
    assert scan_datasets(sets, folder=tmp_path / "index").digest() != before


@pytest.mark.parametrize(
    ("entry", "taken"),
    [
        ({"disabled": True, "type": "webshart", "unheard_of": 1}, {"disabled": True, "trained": False}),
        ({"timestep_sampling_offset": 0.0, "conditioning": [], "filter_func": {}}, {"without_effect": ()}),
        ({"aws_data_prefix": None, "repeats": None}, {"aws_data_prefix": "", "repeats": 0}),
        ({"minimum_image_size": 0, "maximum_image_size": 0, "target_downsample_size": 512}, {"is_aligned": False}),
        ({"maximum_image_size": 1024, "target_downsample_size": 512}, {"is_aligned": True}),
        ({"disable": False, "start_epoch": 1, "end_step": None}, {"disabled": False, "trained": True}),
        ({"is_regularization_data": True, "vae_batch_size": 4}, {"role": "regularisation"}),
    ],
)
def test_simpletuners_spellings_and_empty_values_are_understood(entry, taken):
    dataset = DatasetSettings(**{"id": "set", "instance_data_dir": "x"} | entry)
    assert {name: getattr(dataset, name) for name in taken} == taken


def test_either_word_disables():
    assert DatasetSettings(id="a", instance_data_dir="x", disable=False, disabled=True).disabled


def test_a_reference_to_a_disabled_entry_is_refused():
    sets = [
        {"id": "set", "instance_data_dir": "x", "conditioning_data": "masks"},
        {"id": "masks", "instance_data_dir": "x", "dataset_type": "conditioning", "conditioning_type": "mask"},
    ]
    parameters = {"model": {"pretrained_model_name_or_path": "x"}}
    assert parse_run_settings(parameters | {"datasets": sets}, source="run.yaml")
    sets[1]["disabled"] = True
    with pytest.raises(InputError, match="is 'masks', which is no enabled 'dataset_type: conditioning' entry"):
        parse_run_settings(parameters | {"datasets": sets}, source="run.yaml")


def test_the_default_text_embeds_entry_is_used():
    dataset = DatasetSettings(id="set", instance_data_dir="x")
    stores = [
        DatasetSettings(id="first", dataset_type="text_embeds", caption_filter_list=["red "]),
        DatasetSettings(id="second", dataset_type="text_embeds", caption_filter_list=["ball"], default=True),
    ]
    assert caption_filter(dataset, [dataset, *stores])("red ball") == "red"
