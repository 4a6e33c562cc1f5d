"""From captions and prompts to the caption cache: look up what the store holds, encode the rest, index all of it."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
import torch

from sanaflow.cache.captions import Text, TextEncoder, TextTokens, captions_fingerprint, pack_embeddings
from sanaflow.cache.halving import Halving, free_memory
from sanaflow.cache.index import CAPTION_COLUMNS, TEXT_COLUMNS, CaptionCache, text_key
from sanaflow.cache.parts import CaptionWork, EncodedPart
from sanaflow.cache.store import SHARD_BYTES, ShardStore
from sanaflow.cache.work import PlannedShard, encode_claimed, left_to_do, locate, shards_of, share_out
from sanaflow.config import CacheSettings
from sanaflow.images.table import ImageTable
from sanaflow.model.loading import DTYPES, default_device, load_text_encoder, load_tokenizer
from sanaflow.model.reference import ModelReference
from sanaflow.progress import progress_bar

BATCH_SIZE, TOKENIZED_AT_ONCE = 32, 10_000
MISSING_COLUMNS = ["key", "text", "instructed", "shared", "tokens"]


def make_caption_cache(
    table: ImageTable,
    *,
    prompts: Iterable[str],
    negative_prompts: Iterable[str],
    model: ModelReference,
    settings: CacheSettings,
    store: ShardStore,
) -> CaptionCache:
    """All of it in one process: look up, encode, index. Raises what these raise."""
    work = look_up_captions(
        table, prompts=prompts, negative_prompts=negative_prompts, model=model, settings=settings, store=store
    )
    parts = [
        encode_captions(work, worker=worker, model=model, settings=settings, store=store)
        for worker in range(settings.encode_workers)
    ]
    return merge_captions(work, parts, store=store)


def look_up_captions(
    table: ImageTable,
    *,
    prompts: Iterable[str],
    negative_prompts: Iterable[str],
    model: ModelReference,
    settings: CacheSettings,
    store: ShardStore,
) -> CaptionWork:
    """See which captions, prompts and negative prompts the store holds, and split the others among the workers.

    Raises:
        InputError: The tokenizer or the store can't be used.
    """
    fingerprint = captions_fingerprint(model, settings)

    def key_of(text: Text) -> str:
        return text_key(text.text, instructed=text.instructed, fingerprint=fingerprint)

    rows = [
        (picture.dataset, picture.id, caption, key_of(Text(caption, True)))
        for picture in table.pictures.itertuples()
        for caption in picture.captions
    ]
    captions = pd.DataFrame(rows, columns=CAPTION_COLUMNS)
    by_key = {key: Text(caption, True) for caption, key in zip(captions["caption"], captions["key"], strict=True)}
    texts = [*(Text(prompt, True) for prompt in prompts), *(Text(prompt, False) for prompt in ("", *negative_prompts))]
    by_key |= {key_of(text): text for text in texts}
    found = store.find(by_key)
    missing = {key: text for key, text in by_key.items() if key not in found}
    print(f"{len(found):,} of {len(by_key):,} captions and prompts reused, {len(missing):,} to encode")
    return CaptionWork(fingerprint, captions, sorted(by_key), _split(missing, model, settings))


def _split(missing: dict[str, Text], model: ModelReference, settings: CacheSettings) -> pd.DataFrame:
    """Texts of about the same length in one batch, and whole batches to the workers."""
    rows = []
    if missing:
        tokens = TextTokens(load_tokenizer(model), settings.tokenizer_max_length)
        everything = list(missing.items())
        parts = range(0, len(everything), TOKENIZED_AT_ONCE)
        for i in progress_bar(parts, desc="splitting captions into tokens", unit="part", leave=False):
            some = everything[i : i + TOKENIZED_AT_ONCE]
            for (key, text), ids in zip(some, tokens.ids([text for _, text in some]), strict=True):
                shared = tokens.shared(text, ids)
                rows.append((key, text.text, text.instructed, shared, len(ids) - shared))
    frame = pd.DataFrame(rows, columns=MISSING_COLUMNS).sort_values(["shared", "tokens", "text"], ignore_index=True)
    batch = frame.groupby("shared").cumcount() // (settings.text_encoder_batch_size or BATCH_SIZE)
    frame = frame.assign(shape="", batch=[f"{s} {b}" for s, b in zip(frame["shared"], batch, strict=True)])
    return share_out(frame, frame["tokens"].to_numpy(), settings.encode_workers)


def encode_captions(
    work: CaptionWork, *, worker: int, model: ModelReference, settings: CacheSettings, store: ShardStore
) -> EncodedPart:
    """Encode one worker's part and write it to the store; what is there by now is left alone.

    Raises:
        InputError: The model or the store can't be used.
    """
    missing = left_to_do(work.missing, worker, store)
    if missing.empty:
        return EncodedPart()
    try:
        return _encode_missing(missing, model, settings, store)
    finally:
        free_memory()


def _encode_missing(
    missing: pd.DataFrame, model: ModelReference, settings: CacheSettings, store: ShardStore
) -> EncodedPart:
    loaded = load_text_encoder(
        model, DTYPES[settings.text_encoder_dtype], default_device(), precision=settings.text_encoder_precision
    )
    tokens = TextTokens(load_tokenizer(model), settings.tokenizer_max_length)
    encode_batch = Halving(
        TextEncoder(loaded, tokens, settings),
        advice="set caches.text_encoder_precision: nf4-bnb, or a lower caches.tokenizer_max_length",
    )
    itemsize = torch.empty(0, dtype=DTYPES[settings.text_encoder_dtype]).element_size()
    token_bytes = loaded.config.hidden_size * itemsize
    done = {"encoded": 0, "bytes": 0}

    def encode(shards: Iterator[PlannedShard]) -> None:
        for shard in shards:
            entries: dict[str, torch.Tensor] = {}
            for rows in shard.batches:
                texts = [Text(row.text, bool(row.instructed)) for row in rows]
                entries |= dict(zip([row.key for row in rows], encode_batch(texts), strict=True))
                progress.update(len(rows))
            done["bytes"] += store.write(entries, pack_embeddings, model=model.name)
            done["encoded"] += len(entries)

    def embedding_bytes(row: Any) -> int:
        return (row.tokens + 1) * token_bytes

    began = time.perf_counter()
    with torch.inference_mode(), progress_bar(total=len(missing), desc="encoding captions", unit="text") as progress:
        encode_claimed(shards_of(missing, size_of=embedding_bytes, limit=SHARD_BYTES), store, encode)
    return EncodedPart(done["encoded"], seconds=time.perf_counter() - began, bytes=done["bytes"])


def merge_captions(work: CaptionWork, parts: list[EncodedPart], *, store: ShardStore) -> CaptionCache:
    """Index what the store holds now.

    Raises:
        InputError: A text is not in the store.
    """
    found = locate(work.keys, store)
    rows = [(key, at.shard, at.row, store.contents(at.shard).lengths[at.row]) for key, at in sorted(found.items())]
    return CaptionCache(
        store=store,
        fingerprint=work.fingerprint,
        captions=work.captions,
        texts=pd.DataFrame(rows, columns=TEXT_COLUMNS),
        encoded=sum(part.encoded for part in parts),
        seconds=max(part.seconds for part in parts),
        bytes=sum(part.bytes for part in parts),
    )
