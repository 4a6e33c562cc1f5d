import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from diffusers import AutoencoderDC

from sanaflow.cache import latent_cache, latent_encoder
from sanaflow.cache.folder import FolderStore
from sanaflow.cache.latent_cache import encode_latents, look_up_latents, make_latent_cache, merge_latents
from sanaflow.cache.reading import LatentReader
from sanaflow.config import CacheSettings
from sanaflow.errors import InputError
from tests.environment import SMALL_SANA

SIZES = [(64, 64), (96, 64), (64, 96), (200, 64)]
MANY = {f"{number:03d}.png": SIZES[number % len(SIZES)] for number in range(40)}


@pytest.fixture
def planned(encode, make_pictures):
    """(table, plan) of forty pictures of four shapes, nothing of them encoded in the store `latents` yet."""
    table, plan, _ = encode(make_pictures(MANY), store="elsewhere")
    return table, plan


def tensors(cache) -> dict[str, torch.Tensor]:
    reader = LatentReader(cache)
    return {key: reader.batch([position])[0] for position, key in enumerate(cache.entries["key"])}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("batch", [3, None])
def test_any_number_of_workers_in_any_order_gives_the_same_keys_and_bytes(planned, small_sana, tmp_path, batch):
    made = []
    for workers in (1, 3, 50):
        settings = CacheSettings(vae_batch_size=batch, encode_workers=workers)
        common = {"model": small_sana, "settings": settings, "store": FolderStore(tmp_path / f"{workers}")}
        table, plan = planned
        work = look_up_latents(table, plan, **common)
        parts = {w: encode_latents(work, table, worker=w, **common) for w in reversed(range(workers))}
        made.append(merge_latents(work, list(parts.values()), store=common["store"]))
        assert sum(part.encoded for part in parts.values()) == made[-1].encoded == 40
        if workers == 3 and batch:
            assert all(part.encoded >= 9 for part in parts.values()), "balanced"
    assert same(tensors(made[0]), tensors(made[1])) and same(tensors(made[0]), tensors(made[2]))
    assert made[0].digest() == made[1].digest() == made[2].digest()


def test_only_what_the_store_lacks_is_split(planned, small_sana, tmp_path, capsys):
    table, plan = planned
    store = FolderStore(tmp_path / "store")
    common = {"model": small_sana, "settings": CacheSettings(encode_workers=2), "store": store}
    half = type(plan)(plan.crops.iloc[:39])
    make_latent_cache(table, half, **common)
    work = look_up_latents(table, plan, **common)
    assert "39 of 40 latents reused, 1 to encode" in capsys.readouterr().out
    assert len(work.missing) == 1
    assert make_latent_cache(table, plan, **common).encoded == 1


def test_a_worker_that_is_run_again_encodes_only_what_was_lost(planned, small_sana, tmp_path):
    table, plan = planned
    common = {"model": small_sana, "settings": CacheSettings(), "store": FolderStore(tmp_path / "store")}
    work = look_up_latents(table, plan, **common)
    first = encode_latents(work, table, worker=0, **common)
    store = common["store"]
    lost = store.names()[0]
    count = len(store.contents(lost).keys)
    (store.folder / lost).unlink()
    again = encode_latents(work, table, worker=0, **common)
    assert (first.encoded, again.encoded) == (40, count)
    assert merge_latents(work, [again], store=store).entries["key"].isin(work.crops["key"]).all()


def test_an_index_is_never_made_with_something_missing(planned, small_sana, tmp_path):
    table, plan = planned
    store = FolderStore(tmp_path / "store")
    common = {"model": small_sana, "settings": CacheSettings(), "store": store}
    work = look_up_latents(table, plan, **common)
    part = encode_latents(work, table, worker=0, **common)
    before = store.state()
    (store.folder / store.names()[0]).unlink()
    with pytest.raises(InputError, match=r"entries are no longer in .*: run again"):
        merge_latents(work, [part], store=store)
    assert store.state() != before, "so that ZenML runs the steps again"


def encoder_process(folder, store) -> subprocess.Popen:
    """`make_latent_cache` in a process of its own; a shard is a few pictures."""
    script = f"""
from pathlib import Path
from sanaflow.buckets.plan import plan_crops
from sanaflow.cache import latent_cache, latent_encoder
from sanaflow.cache.folder import FolderStore
from sanaflow.config import CacheSettings, ModelSettings
from sanaflow.datasets import DatasetSettings
from sanaflow.images.scan import scan_datasets
from sanaflow.model.reference import resolve_model
latent_encoder.SHARD_BYTES = 20_000
dataset = DatasetSettings(id="set", instance_data_dir={str(folder)!r}, resolution=64)
table = scan_datasets([dataset], folder=Path({str(store)!r} + "-index"))
plan = plan_crops(table.pictures, [dataset], alignment=8)
model = resolve_model(ModelSettings(pretrained_model_name_or_path={str(SMALL_SANA)!r}))
print("READY", flush=True)
store = FolderStore(Path({str(store)!r}))
settings = CacheSettings(vae_batch_size=2)
cache = latent_cache.make_latent_cache(table, plan, model=model, settings=settings, store=store)
print("ENCODED", cache.encoded, flush=True)
"""
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def encoded_by(process) -> int:
    output, problems = process.communicate(timeout=180)
    assert process.returncode == 0, problems
    return int(output.split("ENCODED ")[1])


def test_an_encoder_that_is_killed_loses_at_most_the_shard_in_hand(make_pictures, tmp_path):
    folder = make_pictures({f"{number:04d}.png": (64, 64) for number in range(400)})
    store = tmp_path / "store"
    for kept in (3, 8):
        process = encoder_process(folder, store)
        until = time.monotonic() + 120
        while len(list(store.glob("*.safetensors"))) < kept and time.monotonic() < until:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert len(list(store.glob("*.safetensors"))) >= kept
    there = FolderStore(store)
    before = sum(len(there.contents(name).keys) for name in there.names())
    assert 0 < before < 400
    assert encoded_by(encoder_process(folder, store)) == 400 - before, "and nothing is encoded twice"
    assert not list(store.glob("*.damaged"))


def test_two_encoders_on_one_store_share_the_work(make_pictures, tmp_path):
    folder = make_pictures({f"{number:04d}.png": (64, 64) for number in range(200)})
    store = tmp_path / "store"
    processes = [encoder_process(folder, store) for _ in range(2)]
    counts = [encoded_by(process) for process in processes]
    assert sum(counts) == 200, "each picture was encoded once"
    there = FolderStore(store)
    keys = [key for name in there.names() for key in there.contents(name).keys]
    assert len(keys) == len(set(keys)) == 200


def test_memory_that_runs_out_halves_the_batch_and_goes_on(planned, small_sana, tmp_path, monkeypatch, capsys):
    real, sizes = AutoencoderDC.encode, []

    def small_card(self, pixels, **options):
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return real(self, pixels, **options)

    monkeypatch.setattr(AutoencoderDC, "encode", small_card)
    store = FolderStore(tmp_path / "store")
    table, plan = planned
    cache = make_latent_cache(table, plan, model=small_sana, settings=CacheSettings(vae_batch_size=8), store=store)
    assert cache.encoded == 40
    assert max(sizes) == 8
    assert "out of memory with 8 at once: going on with 4" in capsys.readouterr().out


def test_tiling_changes_the_latents_and_their_keys_and_slicing_neither(encode, make_pictures, monkeypatch):
    folder = make_pictures({"large.png": (768, 768), "other.png": (768, 768)})
    plain = encode(folder, resolution=768, store="one")[2]
    sliced = encode(folder, resolution=768, settings=CacheSettings(vae_enable_slicing=True), store="two")[2]
    tiled = encode(folder, resolution=768, settings=CacheSettings(vae_enable_tiling=True), store="three")[2]
    assert plain.digest() == sliced.digest()
    for key, latent in tensors(plain).items():
        torch.testing.assert_close(tensors(sliced)[key], latent, rtol=1e-4, atol=1e-5)
    assert set(tiled.entries["key"]).isdisjoint(plain.entries["key"])
    by_id = [dict(zip(cache.entries["id"], tensors(cache).values(), strict=True)) for cache in (plain, tiled)]
    for id_, latent in by_id[0].items():
        assert by_id[1][id_].shape == latent.shape
        assert (by_id[1][id_] - latent).abs().max() > 1e-4
        assert torch.nn.functional.cosine_similarity(by_id[1][id_].flatten(), latent.flatten(), dim=0) > 0.9


def test_the_autoencoder_is_gone_after_encoding(planned, small_sana, tmp_path, monkeypatch):
    import weakref

    loaded = []
    real = latent_encoder.load_autoencoder

    def remember(*args):
        vae = real(*args)
        loaded.append(weakref.ref(vae))
        return vae

    monkeypatch.setattr(latent_encoder, "load_autoencoder", remember)
    table, plan = planned
    make_latent_cache(table, plan, model=small_sana, settings=CacheSettings(), store=FolderStore(tmp_path / "s"))
    assert loaded[0]() is None


def test_a_damaged_shard_is_encoded_again_to_the_same_bytes(planned, small_sana, tmp_path):
    table, plan = planned
    store = FolderStore(tmp_path / "store")
    common = {"model": small_sana, "settings": CacheSettings(), "store": store}
    before = tensors(make_latent_cache(table, plan, **common))
    name = store.names()[0]
    count = len(store.contents(name).keys)
    with (store.folder / name).open("rb+") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"\x01\x02\x03")
    again = make_latent_cache(table, plan, **common | {"store": FolderStore(store.folder)})
    assert again.encoded == count
    assert same(tensors(again), before)
    assert (store.folder / name).with_suffix(".damaged").exists()


def test_statistics_are_those_of_the_latents_and_name_the_odd_one(planned, small_sana, tmp_path):
    table, plan = planned
    store = FolderStore(tmp_path / "store")
    cache = make_latent_cache(table, plan, model=small_sana, settings=CacheSettings(), store=store)
    stacked = torch.cat([latent.flatten(1) for latent in tensors(cache).values() if latent.shape[1:] == (8, 8)], dim=1)
    square = latent_cache.latent_statistics(cache.entries.query("width == 64 and height == 64"), store)
    torch.testing.assert_close(torch.tensor(square.channels["mean"]), stacked.mean(dim=1), rtol=1e-4, atol=1e-5)
    expected = stacked.std(dim=1, correction=0)
    torch.testing.assert_close(torch.tensor(square.channels["std"]), expected, rtol=1e-4, atol=1e-5)

    odd = {"odd": torch.full((16, 8, 8), 30.0)}
    store.write(odd, lambda ones: {"latents": torch.stack(ones)}, model="m")
    place = store.find(["odd"])["odd"]
    row = cache.entries.iloc[:1].assign(id="odd", key="odd", shard=place.shard, row=place.row)
    statistics = latent_cache.latent_statistics(pd.concat([cache.entries, row]), store)
    assert "odd" in statistics.outliers["id"].tolist()
    assert statistics.outliers.set_index("id").loc["odd", "rms"] == pytest.approx(30)
    assert len(statistics.outliers) < 5


def test_a_sheet_that_does_not_fit_into_memory_costs_nothing_but_itself(planned, small_sana, tmp_path, monkeypatch):
    def run_out(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(AutoencoderDC, "decode", run_out)
    table, plan = planned
    store = FolderStore(tmp_path / "store")
    cache = make_latent_cache(table, plan, model=small_sana, settings=CacheSettings(), store=store)
    assert (cache.encoded, cache.preview) == (40, None)
