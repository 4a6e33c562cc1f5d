import weakref

import pandas as pd
import pytest
import torch
from diffusers import SanaPipeline
from transformers import AddedToken, AutoTokenizer, Gemma2Model

from sanaflow.cache import caption_cache
from sanaflow.cache.caption_cache import encode_captions, look_up_captions, make_caption_cache, merge_captions
from sanaflow.cache.captions import INSTRUCTION, Text, TextTokens
from sanaflow.cache.folder import FolderStore
from sanaflow.cache.reading import CaptionReader
from sanaflow.config import CacheSettings, ModelSettings
from sanaflow.images.table import ImageTable
from sanaflow.model.loading import load_tokenizer
from sanaflow.model.reference import resolve_model

CAPTIONS = [f"{'word ' * (number % 17)}picture {number}" for number in range(120)]


@pytest.fixture
def table():
    pictures = [{"dataset": "set", "id": f"{n:064x}", "captions": [caption]} for n, caption in enumerate(CAPTIONS)]
    return ImageTable(pd.DataFrame(pictures), pd.DataFrame())


def arguments(model, store, **settings):
    settings = CacheSettings(text_encoder_dtype="fp32", **settings)
    return {"model": model, "settings": settings, "store": FolderStore(store)}


def embeddings(cache) -> dict[str, torch.Tensor]:
    reader = CaptionReader(cache)
    return {key: reader.batch([key])[0][0] for key in cache.texts["key"]}


@pytest.mark.parametrize("batch", [7, None])
def test_any_number_of_workers_in_any_order_gives_the_same_keys_and_bytes(table, small_sana, tmp_path, batch):
    made = []
    for workers in (1, 3, 40):
        common = arguments(small_sana, tmp_path / f"{workers}", encode_workers=workers, text_encoder_batch_size=batch)
        work = look_up_captions(table, prompts=["a pear"], negative_prompts=["blurry"], **common)
        parts = [encode_captions(work, worker=worker, **common) for worker in reversed(range(workers))]
        made.append(merge_captions(work, parts, store=common["store"]))
        assert sum(part.encoded for part in parts) == 123
    one, three, forty = map(embeddings, made)
    assert one.keys() == three.keys() == forty.keys()
    assert all(torch.equal(one[key], three[key]) and torch.equal(one[key], forty[key]) for key in one)
    assert made[0].digest() == made[1].digest()


def test_the_instruction_is_encoded_once_and_captions_are_padded_to_their_batch(
    table, small_sana, tmp_path, monkeypatch
):
    seen = []
    real = Gemma2Model.forward

    def forward(self, input_ids, **options):
        seen.append(tuple(input_ids.shape))
        return real(self, input_ids, **options)

    monkeypatch.setattr(Gemma2Model, "forward", forward)
    make_caption_cache(table, prompts=[], negative_prompts=[], **arguments(small_sana, tmp_path))
    tokens = TextTokens(load_tokenizer(small_sana), 300)
    assert seen.count((1, tokens.first_kept)) == 1, "the instruction"
    lengths = sorted(len(tokens.ids([Text(caption, True)])[0]) - tokens.first_kept for caption in CAPTIONS)
    widths = [(4, lengths[i + 3]) for i in range(0, len(lengths), 4)]
    assert sorted(shape for shape in seen if shape != (1, tokens.first_kept)) == sorted([*widths, (1, 1)])


@pytest.fixture
def merging_sana(copy_of_small_sana):
    """A tokenizer with pieces that reach over the instruction's end: by its last space, and by its last two words."""
    tokenizer = AutoTokenizer.from_pretrained(copy_of_small_sana / "tokenizer")
    tokenizer.add_tokens([AddedToken(" kiwi", normalized=False), AddedToken("Prompt: zz", normalized=False)])
    tokenizer.save_pretrained(copy_of_small_sana / "tokenizer")
    encoder = Gemma2Model.from_pretrained(copy_of_small_sana / "text_encoder")
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    encoder.save_pretrained(copy_of_small_sana / "text_encoder")
    return resolve_model(ModelSettings(pretrained_model_name_or_path=str(copy_of_small_sana)))


def test_captions_that_merge_with_the_instructions_end_equal_the_pipelines_own(table, merging_sana, tmp_path):
    prompts = ["kiwi", "a red apple", "zz top", "z", "kiwi kiwi", "", "!"]
    tokens = TextTokens(load_tokenizer(merging_sana), 300)
    ids = {prompt: tokens.ids([Text(prompt, True)])[0] for prompt in prompts}
    shared = {prompt: tokens.shared(Text(prompt, True), ids[prompt]) for prompt in prompts}
    assert shared == dict.fromkeys(prompts, tokens.first_kept) | {"zz top": tokens.first_kept - 1}
    merged = {prompt for prompt in prompts if ids[prompt][tokens.first_kept] != tokens.instruction[-1]}
    assert merged == {"kiwi", "zz top", "kiwi kiwi", "a red apple"}
    cache = make_caption_cache(table, prompts=prompts, negative_prompts=[], **arguments(merging_sana, tmp_path))
    reference = SanaPipeline.from_pretrained(merging_sana.name, torch_dtype=torch.float32)
    for prompt in prompts:
        with torch.no_grad():
            embedding, mask, *_ = reference.encode_prompt(
                prompt, do_classifier_free_guidance=False, complex_human_instruction=INSTRUCTION.split("\n")
            )
        expected = embedding[0][mask[0].bool()]
        torch.testing.assert_close(CaptionReader(cache).text(prompt, instructed=True), expected, rtol=1e-5, atol=1e-5)


def test_a_text_that_parts_from_the_instruction_earlier_shares_less_of_it():
    class Words:
        def encode(self, text):
            return list(range(100))

        def __call__(self, text, **options):
            return {"input_ids": [[*range(90), 999, 998]]}

    tokens = TextTokens(Words(), 300)
    assert tokens.shared(Text("x", True), tokens.ids([Text("x", True)])[0]) == 90
    assert tokens.shared(Text("x", False), [0, 1, 2]) == 0
    assert tokens.shared(Text("x", True), list(range(50))) == 49, "one token is left to encode"


@pytest.mark.parametrize(("precision", "far"), [("int8-bnb", 0.05), ("nf4-bnb", 0.4)])
def test_a_quantised_text_encoder_gives_nearly_the_same_under_other_keys(table, small_sana, tmp_path, precision, far):
    table = ImageTable(table.pictures[:20], table.rejected)
    plain = make_caption_cache(table, prompts=[], negative_prompts=[], **arguments(small_sana, tmp_path))
    quantised = make_caption_cache(
        table, prompts=[], negative_prompts=[], **arguments(small_sana, tmp_path, text_encoder_precision=precision)
    )
    assert quantised.encoded == 21, "nothing of the unquantised is reused"
    one, other = CaptionReader(plain), CaptionReader(quantised)
    for caption in CAPTIONS[:20]:
        expected, got = one.text(caption, instructed=True), other.text(caption, instructed=True)
        assert got.dtype == expected.dtype
        assert 0 < (got - expected).norm() / expected.norm() < far


def test_bitsandbytes_weights_are_what_the_encoder_holds(small_sana):
    import bitsandbytes

    from sanaflow.model.loading import default_device, load_text_encoder

    layers = {"int8-bnb": bitsandbytes.nn.Linear8bitLt, "nf4-bnb": bitsandbytes.nn.Linear4bit}
    for precision, layer in layers.items():
        encoder = load_text_encoder(small_sana, torch.bfloat16, default_device(), precision=precision)
        assert isinstance(encoder.layers[0].mlp.up_proj, layer)


def test_the_text_encoder_is_gone_after_encoding(table, small_sana, tmp_path, monkeypatch):
    loaded = []
    real = caption_cache.load_text_encoder

    def remember(*args, **options):
        encoder = real(*args, **options)
        loaded.append(weakref.ref(encoder))
        return encoder

    monkeypatch.setattr(caption_cache, "load_text_encoder", remember)
    make_caption_cache(table, prompts=[], negative_prompts=[], **arguments(small_sana, tmp_path))
    assert loaded[0]() is None


def test_memory_that_runs_out_halves_the_batch_and_goes_on(table, small_sana, tmp_path, monkeypatch, capsys):
    real = Gemma2Model.forward

    def small_card(self, input_ids, **options):
        if len(input_ids) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return real(self, input_ids, **options)

    monkeypatch.setattr(Gemma2Model, "forward", small_card)
    large = arguments(small_sana, tmp_path, text_encoder_batch_size=32)
    cache = make_caption_cache(table, prompts=[], negative_prompts=[], **large)
    assert cache.encoded == 121
    assert "out of memory with 32 at once" in capsys.readouterr().out
