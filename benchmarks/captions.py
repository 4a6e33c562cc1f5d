"""How many captions per CPU second against `SanaPipeline.encode_prompt` one by one, and how many bytes on disk?

python -m benchmarks.captions [--json] [--captions N]

A Gemma 2 of random weights (4 layers, 384 channels, fp32), large enough that its arithmetic is what counts, and a
tokenizer trained so that Sana's instruction has about 240 tokens, as Gemma's own has; captions of 57 tokens on average.
Ours looks up, encodes and writes into a fresh store; both on one thread. 'Padded' are the 300 tokens a caption that
`encode_prompt` returns, in the same precision.
"""

import contextlib
import io
import json
import shutil
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch
from diffusers import SanaPipeline
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Gemma2Config, Gemma2Model, PreTrainedTokenizerFast

from benchmarks._caches import small_model
from sanaflow.cache.caption_cache import make_caption_cache
from sanaflow.cache.captions import INSTRUCTION
from sanaflow.cache.folder import FolderStore
from sanaflow.cache.reading import CaptionReader
from sanaflow.config import CacheSettings, ModelSettings
from sanaflow.images.table import ImageTable
from sanaflow.model.reference import ModelReference, resolve_model

INSTRUCTION_TOKENS, CAPTION_TOKENS, KEPT, EVERY = 240, 54, 300, 8


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--captions", "count", default=512, show_default=True, help="How many.")
def main(as_json: bool, count: int) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, tokenizer = _build_model(folder / "model")
        captions = make_captions(tokenizer, count)
        instruction = len(tokenizer.encode(INSTRUCTION))
        lengths = [len(tokenizer.encode(INSTRUCTION + caption)) - instruction + 2 for caption in captions]
        table = ImageTable(
            pd.DataFrame(
                {"dataset": "set", "id": [f"{n:064x}" for n in range(count)], "captions": [[c] for c in captions]}
            ),
            pd.DataFrame(),
        )
        settings = CacheSettings(text_encoder_dtype="fp32")

        began = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            cache = make_caption_cache(
                table,
                prompts=[],
                negative_prompts=[],
                model=model,
                settings=settings,
                store=FolderStore(folder / "store"),
            )
        ours = time.process_time() - began

        pipeline = SanaPipeline.from_pretrained(model.name, torch_dtype=torch.float32)
        reader, padded_bytes, furthest = CaptionReader(cache), 0, 0.0
        began, spent = time.process_time(), 0.0
        for caption in captions[::EVERY]:
            started = time.process_time()
            with torch.no_grad():
                embedding, mask, *_ = pipeline.encode_prompt(
                    caption, do_classifier_free_guidance=False, complex_human_instruction=INSTRUCTION.split("\n")
                )
            spent += time.process_time() - started
            padded_bytes += embedding.numel() * embedding.element_size()
            own = reader.text(caption, instructed=True)
            furthest = max(furthest, (own - embedding[0][mask[0].bool()]).abs().max().item())
        stored = sum(file.size for file in cache.store.files().values())
    result = {
        "instruction_tokens": instruction,
        "mean_caption_tokens": float(np.mean(lengths)),
        "ours_per_cpu_second": count / ours,
        "encode_prompt_per_cpu_second": len(captions[::EVERY]) / spent,
        "times": (spent / len(captions[::EVERY])) / (ours / count),
        "largest_difference": furthest,
        "padded_over_stored_bytes": padded_bytes * count / len(captions[::EVERY]) / stored,
    }
    if as_json:
        print(json.dumps({"benchmark": "captions", "captions": count, **result}))
        return
    print(
        f"{count} captions of {result['mean_caption_tokens']:.0f} tokens after an instruction of {instruction}\n"
        f"ours {result['ours_per_cpu_second']:.1f} a CPU second, encode_prompt "
        f"{result['encode_prompt_per_cpu_second']:.2f}: {result['times']:.1f} times, loading, tokenizing and writing "
        f"included; largest difference {furthest:.1e}\n"
        f"on disk {result['padded_over_stored_bytes']:.2f} times smaller than padded to {KEPT} tokens"
    )


def _build_model(folder: Path) -> tuple[ModelReference, PreTrainedTokenizerFast]:
    shutil.copytree(small_model().folder(), folder, ignore=shutil.ignore_patterns("tokenizer", "text_encoder"))
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=4096,
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=48,
        query_pre_attn_scalar=48,
    )
    Gemma2Model(config).save_pretrained(folder / "text_encoder")
    return resolve_model(ModelSettings(pretrained_model_name_or_path=str(folder))), tokenizer


def train_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer whose vocabulary is just small enough that the instruction has its 240 tokens."""
    for size in range(600, 260, -1):
        tokenizer = Tokenizer(models.BPE(byte_fallback=True))
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_previous")
        tokenizer.decoder = decoders.Replace("▁", " ")
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=["<pad>", "<eos>", "<bos>", *(f"<0x{byte:02X}>" for byte in range(256))],
            show_progress=False,
        )
        tokenizer.train_from_iterator([INSTRUCTION], trainer)
        tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
        if len(tokenizer.encode(INSTRUCTION).ids) >= INSTRUCTION_TOKENS:
            break
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", padding_side="right"
    )


def make_captions(tokenizer: PreTrainedTokenizerFast, count: int) -> list[str]:
    """Captions of the instruction's own words, 6 to 200 tokens long; 57 on average with the two always kept."""
    noise = np.random.default_rng(0)
    words = INSTRUCTION.lower().split()
    captions = []
    for wanted in noise.normal(CAPTION_TOKENS, 30, count).clip(6, 200):
        caption: list[str] = []
        while len(tokenizer.encode(" ".join(caption))) - 1 < wanted:
            caption.append(str(noise.choice(words)))
        captions.append(" ".join(caption))
    return captions


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.captions")
