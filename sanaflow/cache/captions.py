"""From a text to its embedding: the numbers, and what they depend on.

The embedding of a text equals `SanaPipeline.encode_prompt` on its unmasked tokens: position 0 and what follows Sana's
instruction, at most `tokenizer_max_length` tokens. The text encoder looks backwards only. So what the texts of a batch
have in common, the instruction, is encoded once and its keys and values reused, and a batch is padded to its own
longest text: `python -m benchmarks.captions` has what this saves.
"""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import SanaPipeline
from transformers import DynamicCache, Gemma2Model, PreTrainedTokenizerBase

from sanaflow.cache import index
from sanaflow.cache.index import normalise
from sanaflow.config import CacheSettings
from sanaflow.digests import digest_of, file_digest
from sanaflow.model import loading
from sanaflow.model.loading import DTYPES
from sanaflow.model.reference import ModelReference

CODE = [file_digest(Path(file)) for file in (__file__, index.__file__, loading.__file__)]
"""Part of every key: changed code never gets embeddings that other code made."""
INSTRUCTION = "\n".join(inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default)
"""Sana's complex human instruction in diffusers' spelling, since `SanaPipeline` draws the samples."""

PORTION_ON_CPU = 4
"""Where no batch size is set, a CPU encodes so many texts of a batch at once: they stay in its cache, which is a tenth
faster than 32."""


@dataclass(frozen=True)
class Text:
    """A text to encode: with the instruction for captions and prompts, without for negative and empty prompts."""

    text: str
    instructed: bool


def captions_fingerprint(model: ModelReference, settings: CacheSettings) -> str:
    """What embeddings depend on besides the text."""
    return digest_of(
        [
            *(model.digest("text_encoder", "tokenizer"), INSTRUCTION, settings.tokenizer_max_length),
            *(settings.text_encoder_dtype, settings.text_encoder_precision, CODE),
        ]
    )


class TextTokens:
    """Texts as token ids, the way that `SanaPipeline` makes them, before padding."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        """Tokenize with `tokenizer`; `max_length` tokens of each text are kept."""
        self._tokenizer, self._max_length = tokenizer, max_length
        self.instruction: list[int] = tokenizer.encode(INSTRUCTION)
        self.first_kept = len(self.instruction) - 1
        """Position of a caption's first token: the instruction's last space merges with the caption's first word."""

    def ids(self, texts: Sequence[Text]) -> list[list[int]]:
        """Token ids of each."""
        found: dict[Text, list[int]] = {}
        longest = {True: len(self.instruction) + self._max_length - 2, False: self._max_length}
        for instructed, front in ((True, INSTRUCTION), (False, "")):
            if ours := [text for text in texts if text.instructed == instructed]:
                whole = [front + normalise(text.text) for text in ours]  # in one call: it uses all cores
                ids = self._tokenizer(whole, truncation=True, max_length=longest[instructed])["input_ids"]
                found |= dict(zip(ours, ids, strict=True))
        return [found[text] for text in texts]

    def shared(self, text: Text, ids: list[int]) -> int:
        """How many tokens at the front are the instruction's own. None of those that are kept, but for the first."""
        if not text.instructed:
            return 0
        for position, (of_text, of_instruction) in enumerate(zip(ids, self.instruction, strict=False)):
            if of_text != of_instruction or position == self.first_kept:
                return position
        return min(len(ids) - 1, self.first_kept)


class TextEncoder:
    """Gemma, with the instruction's keys and values kept from one batch to the next."""

    def __init__(self, encoder: Gemma2Model, tokens: TextTokens, settings: CacheSettings) -> None:
        """Encode with `encoder`."""
        self._encoder, self._tokens, self._dtype = encoder, tokens, DTYPES[settings.text_encoder_dtype]
        on_cpu = encoder.device.type == "cpu" and not settings.text_encoder_batch_size
        self._portion = PORTION_ON_CPU if on_cpu else None
        self._prefixes: dict[int, tuple[torch.Tensor, DynamicCache]] = {}

    def __call__(self, texts: Sequence[Text]) -> list[torch.Tensor]:
        """(tokens, channels) a text, on the CPU. All have the same number of `TextTokens.shared` tokens.

        Raises:
            ValueError: They don't.
        """
        portion = self._portion or len(texts)
        return [one for i in range(0, len(texts), portion) for one in self._encode(texts[i : i + portion])]

    def _encode(self, texts: Sequence[Text]) -> list[torch.Tensor]:
        ids = self._tokens.ids(texts)
        [shared] = {self._tokens.shared(text, its_ids) for text, its_ids in zip(texts, ids, strict=True)}
        lengths = [len(its_ids) - shared for its_ids in ids]
        padded = torch.zeros(len(ids), max(lengths), dtype=torch.long)
        mask = torch.ones(len(ids), shared + max(lengths), dtype=torch.long)
        for row, (its_ids, length) in enumerate(zip(ids, lengths, strict=True)):
            padded[row, :length] = torch.tensor(its_ids[shared:])
            mask[row, shared + length :] = 0
        first, cache = self._prefix(shared, len(ids))
        device = self._encoder.device
        states = self._encoder(
            padded.to(device), attention_mask=mask.to(device), past_key_values=cache, use_cache=cache is not None
        )[0]
        kept = []
        for text, state, length in zip(texts, states.to(self._dtype).cpu(), lengths, strict=True):
            start = self._tokens.first_kept - shared if text.instructed else 1
            kept.append(torch.cat([state[:1] if first is None else first, state[start:length]]))
        return kept

    def _prefix(self, shared: int, copies: int) -> tuple[torch.Tensor | None, DynamicCache | None]:
        """The first token's embedding, and the keys and values of the instruction's first tokens for each text."""
        if not shared:
            return None, None
        if shared not in self._prefixes:
            ids = torch.tensor([self._tokens.instruction[:shared]], device=self._encoder.device)
            cache = DynamicCache(config=self._encoder.config)
            states = self._encoder(ids, past_key_values=cache, use_cache=True)[0]
            self._prefixes[shared] = states[0, :1].to(self._dtype).cpu(), cache
        first, cache = self._prefixes[shared]
        copied = copy.deepcopy(cache)
        copied.batch_repeat_interleave(copies)
        return first, copied


def pack_embeddings(embeddings: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """All tokens in one flat tensor, and where each text starts."""
    lengths = torch.tensor([0, *(len(e) for e in embeddings)])
    return {"embeddings": torch.cat(embeddings), "offsets": lengths.cumsum(0)}
