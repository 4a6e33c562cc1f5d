import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, SanaPipeline

from sanaflow.cache.reading import CaptionReader
from sanaflow.config import ValidationSettings
from sanaflow.errors import InputError
from sanaflow.evaluation.sampling import draw_pictures, spare_memory, validation_drawer
from sanaflow.model.loading import load_drawing_pipeline, load_transformer
from tests.environment import SANA_TINY

CPU = torch.device("cpu")
OPTIONS = {"size": (64, 64), "num_inference_steps": 4, "guidance": 3.0, "batch_size": 4}


@pytest.fixture
def captions(encode, encode_texts, make_pictures):
    table = encode(make_pictures({"a.png": (64, 64)}))[0]
    return encode_texts(
        table, prompts=["a red apple", "a rocket in the sky above a very long bridge"], negative_prompts=["ugly"]
    )


@pytest.fixture
def transformer(small_sana):
    torch.manual_seed(0)  # its last layer is zero: give it something to say
    transformer = load_transformer(small_sana)
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.2)
    torch.nn.init.ones_(transformer.caption_norm.weight)
    return transformer


@pytest.mark.parametrize("negative_prompt", ["", "ugly"])
def test_pictures_equal_those_of_the_whole_pipeline(captions, small_sana, transformer, negative_prompt):
    whole = SanaPipeline.from_pretrained(small_sana.name, transformer=transformer, torch_dtype=torch.float32)
    for prompt in ("a red apple", "a rocket in the sky above a very long bridge"):
        expected = whole(
            prompt,
            negative_prompt=negative_prompt,
            height=64,
            width=64,
            num_inference_steps=4,
            guidance_scale=3.0,
            use_resolution_binning=False,
            generator=torch.Generator().manual_seed(5),
        ).images[0]
        [drawn] = draw_pictures(
            load_drawing_pipeline(small_sana, transformer, CPU),
            CaptionReader(captions),
            [(prompt, 5)],
            negative_prompt=negative_prompt,
            **OPTIONS,
        )
        assert np.abs(np.asarray(drawn, int) - np.asarray(expected, int)).max() <= 1
    assert np.asarray(drawn).std() > 0


def test_a_picture_does_not_depend_on_who_shares_its_batch(captions, small_sana, transformer):
    pipeline, reader = load_drawing_pipeline(small_sana, transformer, CPU), CaptionReader(captions)
    prompts = [("a red apple", 1), ("a rocket in the sky above a very long bridge", 1), ("a red apple", 2)]
    together = draw_pictures(pipeline, reader, prompts, negative_prompt="", **OPTIONS)
    alone = [draw_pictures(pipeline, reader, [prompt], negative_prompt="", **OPTIONS)[0] for prompt in prompts]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1
    assert not np.array_equal(np.asarray(together[0]), np.asarray(together[1]))
    assert not np.array_equal(np.asarray(together[0]), np.asarray(together[2]))


def test_a_prompt_that_was_not_encoded_is_named(captions, small_sana, transformer):
    with pytest.raises(InputError, match="'a pear' is not in the caption cache"):
        draw_pictures(
            load_drawing_pipeline(small_sana, transformer, CPU),
            CaptionReader(captions),
            [("a pear", 0)],
            negative_prompt="",
            **OPTIONS,
        )


def test_validation_pictures_are_gathered_over_all_steps(captions, small_sana, transformer, tmp_path):
    settings = ValidationSettings(validation_prompt="a red apple", validation_num_inference_steps=2)
    draw, gather = validation_drawer(small_sana, captions, settings, tmp_path / "drawn")
    for step in (0, 100, 20):
        draw(transformer, step, "raw")
    gallery = gather()
    assert gallery.rows["label"].tolist() == ["step 0", "step 20", "step 100"]
    assert {picture.size for picture in gallery.pictures} == {(64, 64)}
    assert validation_drawer(small_sana, captions, settings, tmp_path / "none")[1]().rows.empty


def test_how_a_size_is_decoded_does_not_depend_on_the_sizes_drawn_before():
    vae = AutoencoderDC.from_pretrained(SANA_TINY, subfolder="vae")
    for size, one_by_one, in_tiles in (
        ((4096, 4096), True, True),
        ((2048, 2048), True, False),
        ((1024, 1024), False, False),
    ):
        spare_memory(vae, size)
        assert (vae.use_slicing, vae.use_tiling) == (one_by_one, in_tiles)
