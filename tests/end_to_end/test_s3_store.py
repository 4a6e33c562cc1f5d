"""The whole chain on a stack whose artifact store is S3, on a real S3 server."""

import pytest
from zenml.enums import ExecutionStatus

from pipelines.finetune import finetune
from sanaflow.errors import InputError
from tests.end_to_end.test_finetune import ALWAYS, CAPTIONS, LATENTS, ran


def run(path):
    finished = finetune.with_options(config_path=str(path))()
    assert finished.status == ExecutionStatus.COMPLETED
    return finished


def test_a_finetune_with_its_caches_on_s3(s3_stack, write_run, tmp_path, monkeypatch):
    monkeypatch.setenv("SANAFLOW_SHARD_CACHE", str(tmp_path / "copies"))
    first = run(write_run())
    kept = {obj.key for obj in s3_stack.objects.filter(Prefix="sanaflow/")}
    shards = {key for key in kept if key.endswith(".safetensors")}
    assert {key.split("/")[1] for key in shards} == {"latents", "captions"}
    assert (tmp_path / "release/model_index.json").is_file()
    cache = first.steps["merge_latents"].outputs["latent_cache"][0].load()
    assert cache.store.place == "s3://zenml/sanaflow/latents"
    assert ran(run(write_run())) == ALWAYS, "an identical run encodes and trains nothing"

    victim = s3_stack.Object(sorted(key for key in shards if "/latents/" in key)[0])
    held = len(cache.store.contents(victim.key.rsplit("/", 1)[1]).keys)
    victim.delete()
    elsewhere = {"training": {"learning_rate": 2.0e-3}}
    with pytest.raises(InputError, match="missing or damaged: run again"):
        finetune.with_options(config_path=str(write_run(**elsewhere)))()
    again = run(write_run(**elsewhere))
    assert ran(again) >= LATENTS and not ran(again) & CAPTIONS
    assert again.steps["merge_latents"].outputs["latent_cache"][0].load().encoded == held
