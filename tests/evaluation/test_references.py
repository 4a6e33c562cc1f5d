from dataclasses import replace

import numpy as np
import torch

from sanaflow.cache.reading import LatentReader
from sanaflow.evaluation.references import decode_references
from sanaflow.model.loading import load_vae

SETS = {"train": {"a.png": (64, 64), "b.png": (100, 50), "c.png": (64, 64)}, "eval": {"y.png": (64, 64)}}


def test_they_are_what_the_autoencoder_gives_back(encode_sets, small_sana):
    latents, _ = encode_sets(SETS)
    found = decode_references(latents, model=small_sana, held_out=False, limit=10)
    assert found.names == sorted(found.names)
    assert len(found.names) == 3
    entries = latents.entries.assign(name=latents.entries["dataset"] + "/" + latents.entries["id"])
    vae, reader = load_vae(small_sana, torch.float32, torch.device("cpu")), LatentReader(latents)
    for name, picture in zip(found.names, found.pictures, strict=True):
        position = entries.index[entries["name"] == name].tolist()
        with torch.no_grad():
            pixels = vae.decode(reader.batch(position) / vae.config.scaling_factor).sample[0]
        expected = ((pixels.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
        assert picture.size == (entries.loc[position[0], "width"], entries.loc[position[0], "height"])
        assert np.abs(np.asarray(picture) - expected).max() <= 1


def test_held_out_ones_are_those_of_eval_sets(encode_sets, small_sana):
    latents, _ = encode_sets(SETS)
    [name] = decode_references(latents, model=small_sana, held_out=True, limit=10).names
    assert name.startswith("eval/")


def test_no_more_are_decoded_than_asked_for(encode_sets, small_sana):
    latents, _ = encode_sets({"train": SETS["train"]})
    assert len(decode_references(latents, model=small_sana, held_out=False, limit=2).pictures) == 2
    assert decode_references(latents, model=small_sana, held_out=True, limit=2).pictures == []


def test_regularisation_pictures_count_only_where_there_are_no_others(encode_sets, small_sana):
    pictures = {"train": {"a.png": (64, 64)}, "things": {"b.png": (64, 64)}}
    kept = {"is_regularisation_data": True}
    both, _ = encode_sets(pictures, things=kept)
    alone = replace(both, entries=both.entries[both.entries["role"] == "regularisation"])
    for latents, name in ((both, "train/"), (alone, "things/")):
        [found] = decode_references(latents, model=small_sana, held_out=False, limit=10).names
        assert found.startswith(name)
