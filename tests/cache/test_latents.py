import pytest
import torch
from diffusers import AutoencoderDC
from diffusers.image_processor import VaeImageProcessor

from sanaflow.cache.folder import FolderStore
from sanaflow.cache.latent_cache import make_latent_cache
from sanaflow.cache.reading import CaptionReader, LatentReader
from sanaflow.config import CacheSettings
from sanaflow.errors import InputError
from sanaflow.images.decode import read_crop

PICTURES = {"a.png": (64, 64), "b.png": (200, 100), "c.png": (100, 200), "d.png": (80, 80), "e.png": (64, 64)}


def test_latents_equal_diffusers_own_encoding(encode, make_pictures, small_sana):
    table, plan, cache = encode(make_pictures(PICTURES))
    vae = AutoencoderDC.from_pretrained(small_sana.name, subfolder="vae")
    reader = LatentReader(cache)
    for row, position in zip(plan.crops.itertuples(), range(len(cache.entries)), strict=True):
        assert cache.entries.at[position, "id"] == row.id
        picture = read_crop(
            table.uri_of()["set", row.id],
            row.id,
            resize=(row.resize_width, row.resize_height),
            crop=(row.left, row.top, row.right, row.bottom),
        )
        with torch.no_grad():
            pixels = VaeImageProcessor(vae_scale_factor=8).preprocess(picture)
            expected = vae.encode(pixels).latent * vae.config.scaling_factor
        torch.testing.assert_close(reader.batch([position]), expected, rtol=1e-4, atol=1e-5)


def test_a_second_look_encodes_nothing(encode, make_pictures):
    folder = make_pictures(PICTURES)
    assert encode(folder)[2].encoded == 5
    again = encode(folder)[2]
    assert again.encoded == 0
    assert again.preview is None


def test_one_more_picture_encodes_one(encode, make_pictures):
    folder = make_pictures(PICTURES)
    before = encode(folder)[2]
    make_pictures({"f.png": (64, 64)}, seed=7)
    after = encode(folder)[2]
    assert after.encoded == 1
    assert after.digest() != before.digest()
    kept = before.entries.merge(after.entries, on=["id", "key", "shard", "row"])
    assert len(kept) == 5


def test_a_changed_crop_or_precision_encodes_again(encode, make_pictures):
    folder = make_pictures(PICTURES)
    encode(folder)
    assert encode(folder, crop_aspect="square")[2].encoded == 2  # the two that are not square
    assert encode(folder, settings=CacheSettings(vae_dtype="bf16"))[2].encoded == 5


def test_batch_size_does_not_change_the_latents(encode, make_pictures):
    folder = make_pictures(PICTURES)
    one = encode(folder, settings=CacheSettings(vae_batch_size=1), store="one")[2]
    many = encode(folder, settings=CacheSettings(vae_batch_size=4), store="many")[2]
    assert one.digest() == many.digest()
    for position in range(len(one.entries)):
        torch.testing.assert_close(
            LatentReader(one).batch([position]), LatentReader(many).batch([position]), rtol=1e-4, atol=1e-5
        )


def test_a_picture_that_changed_after_the_look_is_never_stored_under_the_old_address(
    encode, make_pictures, small_sana, tmp_path
):
    folder = make_pictures({"a.png": (64, 64)})
    table, plan, first = encode(folder)
    original = (folder / "a.png").read_bytes()
    make_pictures({"a.png": (64, 64)}, seed=9)
    store = FolderStore(tmp_path / "second")
    with pytest.raises(InputError, match=r"a\.png' can't be read any more \(it has changed"):
        make_latent_cache(table, plan, model=small_sana, settings=CacheSettings(), store=store)
    (folder / "a.png").write_bytes(original)
    again = make_latent_cache(table, plan, model=small_sana, settings=CacheSettings(), store=store)
    assert again.encoded == 1
    assert torch.equal(LatentReader(again).batch([0]), LatentReader(first).batch([0]))


def test_readers_refuse_damaged_shards(encode, encode_texts, make_pictures):
    table, _, latents = encode(make_pictures({"a.png": (64, 64)}))
    captions = encode_texts(table)
    for cache, reader, shards in (
        (latents, LatentReader, latents.entries["shard"]),
        (captions, CaptionReader, captions.texts["shard"]),
    ):
        shard = cache.store.folder / shards[0]
        data = bytearray(shard.read_bytes())
        data[-1] ^= 1
        shard.write_bytes(data)
        with pytest.raises(InputError, match="missing or damaged"):
            reader(cache)


def test_latents_that_are_not_finite_are_never_stored(encode, make_pictures, monkeypatch):
    real = AutoencoderDC.encode

    def encode_first_to_nan(self, pixels, **options):
        encoded = real(self, pixels, **options)
        encoded.latent[0] = float("nan")
        return encoded

    monkeypatch.setattr(AutoencoderDC, "encode", encode_first_to_nan)
    folder = make_pictures({"a.png": (64, 64), "b.png": (64, 64)})
    cache = encode(folder, store="one")[2]
    assert cache.rejected["reason"].tolist() == ["its latents are not finite numbers"]
    assert LatentReader(cache).batch([0]).isfinite().all()
    with pytest.raises(InputError, match="no picture has usable latents"):
        encode(folder, settings=CacheSettings(vae_batch_size=1), store="two")
