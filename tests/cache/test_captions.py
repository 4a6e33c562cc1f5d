import pytest
import torch
from diffusers import SanaPipeline

from sanaflow.cache.captions import INSTRUCTION, Text, TextTokens
from sanaflow.cache.reading import CaptionReader
from sanaflow.config import CacheSettings
from sanaflow.model.loading import load_tokenizer

CAPTIONS = {
    "short": "a red apple",
    "capitals and spaces": "  A Red APPLE ",
    "one word that merges with the instruction's last space": "apple",
    "a digit first": "3 apples",
    "punctuation first": "!apple",
    "empty": "",
    "several lines": "an apple\non a table",
    "emoji": "🍎 and 👩‍👩‍👧",
    "not latin": "苹果 яблоко تفاحة",
    "longer than is kept": "a red apple on a wooden table " * 60,
}


@pytest.fixture(scope="module")
def reference(small_sana):
    return SanaPipeline.from_pretrained(small_sana.name, torch_dtype=torch.float32)


@pytest.fixture
def table(make_pictures, encode):
    return encode(make_pictures({"a.png": (64, 64)}))[0]


def unmasked(embeddings, mask):
    return embeddings[0][mask[0].bool()]


@pytest.mark.parametrize("kind", CAPTIONS)
def test_a_caption_equals_the_pipelines_own_encoding(kind, table, encode_texts, reference):
    prompt = CAPTIONS[kind]
    cache = encode_texts(table, prompts=CAPTIONS.values())
    instruction = INSTRUCTION.split("\n")
    with torch.no_grad():
        embeddings, mask, *_ = reference.encode_prompt(
            prompt, do_classifier_free_guidance=False, complex_human_instruction=instruction
        )
    expected = unmasked(embeddings, mask)
    torch.testing.assert_close(CaptionReader(cache).text(prompt, instructed=True), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prompt", ["", "blurry, ugly", "word " * 400])
def test_a_negative_prompt_is_encoded_without_the_instruction(prompt, table, encode_texts, reference):
    cache = encode_texts(table, negative_prompts=[prompt])
    with torch.no_grad():
        _, _, embeddings, mask = reference.encode_prompt("x", negative_prompt=prompt)
    expected = unmasked(embeddings, mask)
    torch.testing.assert_close(CaptionReader(cache).text(prompt, instructed=False), expected, rtol=1e-5, atol=1e-5)


def test_the_instruction_is_the_one_that_the_pipeline_samples_with(small_sana):
    tokenizer = load_tokenizer(small_sana)
    assert len(INSTRUCTION) == 1057
    ids = TextTokens(tokenizer, 300).ids([Text("an apple", True)])[0]
    assert tokenizer.decode(ids, skip_special_tokens=True) == INSTRUCTION + "an apple"


def test_texts_are_stored_at_their_real_length(table, encode_texts, small_sana):
    cache = encode_texts(table, prompts=["a red apple", "x " * 500])
    tokens = set(cache.texts["tokens"])
    assert max(tokens) == 300
    assert min(tokens) == 1  # the empty prompt is its BOS token alone
    reader = CaptionReader(cache)
    assert {len(reader.batch([key])[0][0]) for key in cache.texts["key"]} == tokens


def test_every_distinct_text_is_encoded_once(table, encode_texts):
    first = encode_texts(table, prompts=["an apple", "an apple", "An Apple "])
    assert first.encoded == 3  # the picture's caption, the apple, the empty prompt
    again = encode_texts(table, prompts=["an apple", "a pear"])
    assert again.encoded == 1


def test_prompts_do_not_change_the_digest_but_captions_do(table, encode_texts):
    plain = encode_texts(table)
    assert encode_texts(table, prompts=["a pear"]).digest() == plain.digest()
    table.pictures.at[0, "captions"] = ["another caption"]
    assert encode_texts(table).digest() != plain.digest()


def test_length_and_precision_are_part_of_the_key(table, encode_texts):
    encode_texts(table)
    assert encode_texts(table, settings=CacheSettings(text_encoder_dtype="bf16")).encoded == 2
    shorter = encode_texts(
        table, settings=CacheSettings(text_encoder_dtype="fp32", tokenizer_max_length=5), prompts=["x " * 99]
    )
    assert shorter.texts["tokens"].max() == 5


def test_a_batch_has_zeros_and_a_mask_behind_shorter_texts(table, encode_texts):
    reader = CaptionReader(encode_texts(table, prompts=["a red apple on a table", ""]))
    keys = [reader.key("", instructed=False), reader.key("a red apple on a table", instructed=True)]
    long = reader.batch([keys[1]])[0][0]
    embeddings, mask = reader.batch(keys)
    assert embeddings.shape == (2, *long.shape)
    assert mask.tolist() == [[1] + [0] * (len(long) - 1), [1] * len(long)]
    assert torch.equal(embeddings[1], long)
    assert torch.equal(embeddings[0, :1], reader.batch([keys[0]])[0][0])
    assert not embeddings[0, 1:].any()
