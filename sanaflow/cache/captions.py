"""Encode captions and prompts that the store doesn't hold yet, each distinct text once, at its real length.

The result for a text equals `SanaPipeline.encode_prompt` on its unmasked tokens: position 0 and what follows Sana's
instruction, at most `tokenizer_max_length` tokens. Texts are sorted by length and padded only to the longest of
their batch; the text encoder looks backwards only, so that padding on the right changes nothing.
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from diffusers import SanaPipeline
from transformers import PreTrainedTokenizerBase

from sanaflow.cache import index
from sanaflow.cache.index import CAPTION_COLUMNS, TEXT_COLUMNS, CaptionCache, normalise, text_key
from sanaflow.cache.store import SHARD_BYTES, ShardStore, bytes_of
from sanaflow.config import CacheSettings
from sanaflow.digests import digest_of, file_digest
from sanaflow.images.table import ImageTable
from sanaflow.model.loading import DTYPES, default_device, load_text_encoder, load_tokenizer
from sanaflow.model.reference import ModelReference
from sanaflow.progress import progress_bar

CODE = [file_digest(Path(file)) for file in (__file__, index.__file__)]
"""Part of every key: changed code never gets embeddings that other code made."""
INSTRUCTION = "\n".join(inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default)
"""Sana's complex human instruction in diffusers' spelling, since `SanaPipeline` draws the samples."""


@dataclass(frozen=True)
class Text:
    """A text to encode: with the instruction for captions and prompts, without for negative and empty prompts."""

    text: str
    instructed: bool


def encode_captions(
    table: ImageTable,
    *,
    prompts: Iterable[str],
    negative_prompts: Iterable[str],
    model: ModelReference,
    settings: CacheSettings,
    folder: Path,
) -> CaptionCache:
    """Find or make the embeddings of every caption, prompt, negative prompt and of the empty prompt.

    Raises:
        InputError: The model or the store can't be used.
    """
    store = ShardStore(folder)
    fingerprint = digest_of(
        [
            *(model.digest("text_encoder", "tokenizer"), INSTRUCTION, settings.tokenizer_max_length),
            *(settings.text_encoder_dtype, CODE),
        ]
    )
    rows = [
        (p.dataset, p.id, caption, text_key(caption, instructed=True, fingerprint=fingerprint))
        for p in table.pictures.itertuples()
        for caption in p.captions
    ]
    captions = pd.DataFrame(rows, columns=CAPTION_COLUMNS)
    texts = [Text(caption, True) for caption in captions["caption"]]
    texts += [Text(prompt, True) for prompt in prompts]
    texts += [Text(prompt, False) for prompt in ("", *negative_prompts)]
    by_key = {text_key(t.text, instructed=t.instructed, fingerprint=fingerprint): t for t in texts}

    found = store.find(by_key)
    missing = {key: text for key, text in by_key.items() if key not in found}
    print(f"{len(found):,} of {len(by_key):,} captions and prompts reused, {len(missing):,} to encode")
    if missing:
        _encode_missing(missing, model, settings, store)
        found |= store.find(missing)
    return CaptionCache(
        folder=folder,
        fingerprint=fingerprint,
        captions=captions,
        texts=_texts(found, store),
        encoded=len(missing),
    )


def _encode_missing(
    missing: dict[str, Text], model: ModelReference, settings: CacheSettings, store: ShardStore
) -> None:
    device = default_device()
    tokenizer = load_tokenizer(model)
    encoder = load_text_encoder(model, DTYPES[settings.text_encoder_dtype], device)

    def ids_of(key: str) -> list[int]:
        return token_ids(missing[key], tokenizer, settings.tokenizer_max_length)

    length_of = {key: len(ids_of(key)) for key in missing}
    first_kept = (
        len(tokenizer.encode(INSTRUCTION)) - 1
    )  # the instruction's last space merges with the caption's first word
    order = sorted(missing, key=lambda key: (length_of[key], key))
    keys: list[str] = []
    embeddings: list[torch.Tensor] = []
    with torch.inference_mode(), progress_bar(total=len(order), desc="encoding captions", unit="caption") as progress:
        for i in range(0, len(order), settings.text_encoder_batch_size):
            batch = order[i : i + settings.text_encoder_batch_size]
            padded = tokenizer.pad({"input_ids": [ids_of(key) for key in batch]}, padding=True, return_tensors="pt")
            states = encoder(**padded.to(device), use_cache=False)[0].cpu()
            for key, state in zip(batch, states, strict=True):
                tokens = state[: length_of[key]]
                keys.append(key)
                embeddings.append(torch.cat([tokens[:1], tokens[first_kept if missing[key].instructed else 1 :]]))
            if bytes_of(embeddings) >= SHARD_BYTES:
                store.write(keys, _packed(embeddings))
                keys, embeddings = [], []
            progress.update(len(batch))
    if embeddings:
        store.write(keys, _packed(embeddings))


def token_ids(text: Text, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[int]:
    """Token ids as `SanaPipeline` makes them, before padding."""
    if not text.instructed:
        return tokenizer(normalise(text.text), truncation=True, max_length=max_length)["input_ids"]
    longest = len(tokenizer.encode(INSTRUCTION)) + max_length - 2
    return tokenizer(INSTRUCTION + normalise(text.text), truncation=True, max_length=longest)["input_ids"]


def _packed(embeddings: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """All tokens in one flat tensor, and where each text starts."""
    lengths = torch.tensor([0, *(len(e) for e in embeddings)])
    return {"embeddings": torch.cat(embeddings), "offsets": lengths.cumsum(0)}


def _texts(found: dict, store: ShardStore) -> pd.DataFrame:
    offsets = {shard: store.read(shard, "offsets")[0].diff() for shard in {at.shard for at in found.values()}}
    rows = [(key, at.shard, at.row, int(offsets[at.shard][at.row])) for key, at in sorted(found.items())]
    return pd.DataFrame(rows, columns=TEXT_COLUMNS)
