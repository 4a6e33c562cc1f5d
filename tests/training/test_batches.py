from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
import torch

from sanaflow.cache.reading import LatentReader
from sanaflow.config import TrainingSettings
from sanaflow.training.batches import Batches, bucket_positions, epoch_batches


def index(**columns):
    """A latent cache's index, in its order."""
    size = len(columns["width"])
    rows = {"dataset": "set", "id": [f"{i}" for i in range(size)], "variant": 0, "height": 8, "role": "train"}
    return pd.DataFrame(rows | {"repeats": 0, "probability": 1.0} | columns)


BUCKETS = [[0, 1, 2, 3, 4], [5, 6], [7]]


def test_an_epoch_shows_every_sample_once_in_batches_of_one_bucket():
    batches = epoch_batches(BUCKETS, 2, seed=0, epoch=0)
    assert sorted(position for batch in batches for position in batch) == list(range(8))
    assert sorted(map(len, batches)) == [1, 1, 2, 2, 2]  # short batches are kept
    assert all(any(set(batch) <= set(bucket) for bucket in BUCKETS) for batch in batches)


def test_the_order_is_a_function_of_seed_and_epoch():
    order = epoch_batches(BUCKETS, 2, seed=0, epoch=3)
    assert order == epoch_batches(BUCKETS, 2, seed=0, epoch=3)
    assert order != epoch_batches(BUCKETS, 2, seed=0, epoch=4)
    assert order != epoch_batches(BUCKETS, 2, seed=1, epoch=3)


def test_repeats_are_extra_passes():
    entries = index(width=[8, 8, 16], repeats=[0, 2, 1])
    assert Counter(p for bucket in bucket_positions(entries, seed=0, epoch=5) for p in bucket) == {0: 1, 1: 3, 2: 2}


def test_a_share_of_a_set_is_shown_in_turns():
    entries = index(width=[8] * 10, probability=[0.25] * 10)
    epochs = [[p for bucket in bucket_positions(entries, seed=0, epoch=e) for p in bucket] for e in range(8)]
    assert {len(shown) for shown in epochs} <= {2, 3}
    assert Counter(p for shown in epochs for p in shown) == {p: 2 for p in range(10)}  # 8 epochs of a quarter


def test_every_showing_takes_the_next_crop():
    entries = index(width=[8, 16, 8], id=["a", "a", "a"], variant=[0, 1, 2], repeats=[1, 1, 1])
    shown = [sorted(p for bucket in bucket_positions(entries, seed=0, epoch=e) for p in bucket) for e in range(3)]
    assert shown == [[0, 1], [0, 2], [1, 2]]


def test_epochs_of_different_length_follow_each_other(caches):
    latents, captions = caches
    latents = replace(latents, entries=latents.entries.assign(probability=0.5))
    batches = Batches(latents, captions, TrainingSettings(train_batch_size=1))
    latents_of = [batches[number].latents for number in range(8)]
    again = Batches(latents, captions, TrainingSettings(train_batch_size=1))
    assert torch.equal(again[7].latents, latents_of[7])
    assert {len(b) for b in latents_of} == {1}


def test_held_out_pictures_are_never_shown(caches):
    latents, captions = caches
    held_out = latents.entries["id"] == latents.entries["id"].iloc[0]
    latents = replace(latents, entries=latents.entries.assign(role=held_out.map({True: "eval", False: "train"})))
    batches = Batches(latents, captions, TrainingSettings(train_batch_size=1))
    hidden = LatentReader(latents).batch([0])[0]
    assert not any(torch.equal(batches[number].latents[0], hidden) for number in range(6))


@pytest.fixture
def caches(encode, encode_texts, make_pictures):
    sizes = {"a.png": (64, 64), "b.png": (64, 64), "c.png": (100, 50), "d.png": (64, 64)}
    table, _, latents = encode(make_pictures(sizes))
    return latents, encode_texts(table)


def test_a_batch_pairs_latents_with_their_own_captions(caches):
    latents, captions = caches
    batches = Batches(latents, captions, TrainingSettings(train_batch_size=2, caption_dropout_probability=0))
    entries = latents.entries.sort_values(["dataset", "id"], ignore_index=True)  # the order that batches count in
    key_of = captions.captions.set_index("id")["key"]
    seen = Counter()
    for number in range(len(batches._epoch(0))):
        batch = batches[number]
        for latent, embedding, mask in zip(batch.latents, batch.embeddings, batch.mask, strict=True):
            [position] = [p for p in latents.entries.index if torch.equal(batches._latents.batch([p])[0], latent)]
            expected = batches._captions.batch([key_of[entries.at[position, "id"]]])[0][0]
            assert torch.equal(embedding[mask.bool()], expected)
            seen[position] += 1
    assert seen == Counter(range(4))


def test_a_batch_is_a_function_of_its_number(caches):
    settings = TrainingSettings(train_batch_size=2)
    one, other = Batches(*caches, settings), Batches(*caches, settings)
    _ = [other[number] for number in (5, 2, 9)]  # asking for others changes nothing
    for number in range(7):
        assert torch.equal(one[number].latents, other[number].latents)
        assert torch.equal(one[number].embeddings, other[number].embeddings)


def test_dropped_captions_are_the_empty_prompt_with_its_own_mask(caches):
    batches = Batches(*caches, TrainingSettings(train_batch_size=3, caption_dropout_probability=1))
    batch = batches[0]
    assert batch.mask.sum(dim=1).tolist() == [1] * len(batch.mask)
    assert torch.equal(batch.embeddings[0], batches._captions.text("", instructed=False))


def test_captions_are_dropped_as_often_as_asked(caches):
    batches = Batches(*caches, TrainingSettings(train_batch_size=1, caption_dropout_probability=0.25))
    dropped = [batches[number].mask.sum().item() == 1 for number in range(600)]
    assert sum(dropped) / 600 == pytest.approx(0.25, abs=0.05)


def test_every_caption_of_a_picture_is_used(encode, encode_texts, make_pictures):
    folder = make_pictures({"a.png": (64, 64)})
    (folder / "a.txt").write_text("one\ntwo words\nthese are four words")
    table, _, latents = encode(folder, caption_strategy="textfile")
    captions = encode_texts(table)
    batches = Batches(latents, captions, TrainingSettings(train_batch_size=1, caption_dropout_probability=0))
    lengths = {batches[number].mask.sum().item() for number in range(30)}
    assert len(lengths) == 3
