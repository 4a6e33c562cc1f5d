"""The same pictures from a hub repository instead of a folder: nothing is encoded again."""

from pipelines.prepare import prepare


def statuses(run) -> dict[str, str]:
    return {name: step.status.value for name, step in run.steps.items()}


def test_the_same_pictures_from_the_hub_are_the_same_cached_run(write_run, pictures, hub):
    held_out = {"id": "held", "dataset_type": "eval", "instance_data_dir": str(pictures), "max_num_samples": 1}
    here = {"id": "set", "instance_data_dir": str(pictures), "resolution": 64}
    sets = [here, held_out | {"resolution": 64}]
    first = prepare.with_options(config_path=str(write_run(datasets=sets)))()
    hub.add_repo("datasets", "tester/pictures", {p.name: p.read_bytes() for p in pictures.iterdir()})
    there = {"id": "set", "type": "huggingface", "dataset_name": "tester/pictures", "resolution": 64}
    second = prepare.with_options(config_path=str(write_run(datasets=[there, sets[1]])))()
    assert statuses(second)["encode_latents"] == statuses(second)["encode_captions"] == "cached"
    tables = [run.steps["download_dataset"].outputs["image_table"][0].load() for run in (first, second)]
    assert tables[0].digest() == tables[1].digest()
    assert not set(tables[1].pictures.query("dataset == 'set'")["uri"]) & set(tables[0].pictures["uri"])
    latents = second.steps["merge_latents"].outputs["latent_cache"][0].load()
    assert latents.entries["role"].value_counts().to_dict() == {"train": 5, "eval": 1}


def test_the_sheets_of_a_plan_are_pictures(write_run):
    run = prepare.with_options(config_path=str(write_run()))()
    plan = run.steps["assign_buckets"].outputs["bucket_plan"][0]
    table = run.steps["download_dataset"].outputs["image_table"][0]
    drawn = {v.uri.rsplit("/", 1)[1] for artifact in (plan, table) for v in artifact.visualizations}
    assert {"buckets.png", "crops.png", "contact_sheet.png", "quality_worst.png"} <= drawn
    assert plan.run_metadata["pictures"] == 5
