from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from sanaflow.config import EvaluationSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.evaluation.clip import load_clip
from sanaflow.evaluation.judge import clip_scores, evaluation_prompts, margins, score_clip
from sanaflow.evaluation.packaged_clip import build_packaged_clip
from sanaflow.evaluation.scores import interval_of_mean, summarise
from sanaflow.model.loading import load_transformer
from sanaflow.model.tunable import load_tuned
from sanaflow.model.tuned import SanaModel, weights_digest
from tests.environment import PROJECT

PACKAGED = EvaluationSettings(
    evaluation_model="packaged",
    evaluation_prompts=["red apple", "rocket", "panda"],
    evaluation_seeds=[0, 1],
    evaluation_num_inference_steps=2,
)


@pytest.fixture(scope="module")
def emoji():
    names = ["red apple", "rocket", "panda", "guitar", "umbrella", "penguin"]
    return names, [Image.open(PROJECT / "assets/pictures" / f"{name}.webp").convert("RGB") for name in names]


@pytest.fixture
def tuned(small_sana, tmp_path) -> SanaModel:
    torch.manual_seed(0)
    transformer = load_transformer(small_sana)
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.2)
    transformer.register_to_config(_name_or_path=None)
    transformer.save_pretrained(tmp_path / "tuned")
    folder = (tmp_path / "tuned").rename(tmp_path / weights_digest(tmp_path / "tuned"))
    data = {"latents": "0" * 64, "captions": "1" * 64}
    return SanaModel(folder, 5, small_sana.name, small_sana.digest(), data, {"seed": 0})


def test_the_packaged_clip_tells_the_bundled_pictures_apart(emoji):
    names, pictures = emoji
    clip = load_clip(PACKAGED)
    texts, images = clip.embed_prompts(names, batch_size=4), clip.embed_pictures(pictures, batch_size=4)
    assert (texts @ images.T).argmax(dim=1).tolist() == list(range(len(names)))


def test_scores_equal_open_clip_by_hand(emoji):
    names, pictures = emoji
    clip = load_clip(PACKAGED)
    scores = clip_scores(clip.embed_prompts(names, batch_size=2), clip.embed_pictures(pictures, batch_size=4))
    model, preprocess, tokenizer = build_packaged_clip()
    with torch.no_grad():
        for name, picture, score in zip(names, pictures, scores, strict=True):
            image = model.encode_image(preprocess(picture)[None])
            text = model.encode_text(tokenizer([name]))
            assert score == pytest.approx(100 * torch.cosine_similarity(image, text).item(), abs=1e-3)


def test_base_and_tuned_are_scored_on_the_same_prompts_seeds_and_noise(
    encode, encode_texts, make_pictures, small_sana, tuned
):
    table = encode(make_pictures({"a.png": (64, 64)}))[0]
    captions = encode_texts(table, prompts=PACKAGED.evaluation_prompts)
    scores, gallery = score_clip(
        captions, model=small_sana, tuned=tuned, settings=PACKAGED, validation=ValidationSettings()
    )
    assert len(scores.scores) == 6
    assert (scores.scores["base"] != scores.scores["tuned"]).all()
    assert gallery.rows["label"].tolist() == ["base"] * 6 + ["tuned"] * 6
    halves = gallery.rows.drop(columns="label")
    assert halves[:6].reset_index(drop=True).equals(halves[6:].reset_index(drop=True))
    clip = load_clip(PACKAGED)
    texts = clip.embed_prompts(gallery.rows["prompt"].tolist(), batch_size=4)
    by_hand = clip_scores(texts, clip.embed_pictures(gallery.pictures, batch_size=4))
    assert [*scores.scores["base"], *scores.scores["tuned"]] == pytest.approx(by_hand, abs=1e-3)
    gain = scores.scores["tuned"] - scores.scores["base"]
    assert summarise(scores.scores).at["gain", "mean"] == pytest.approx(gain.mean())
    assert scores.report.count("data:image/jpeg") == 12
    assert "can't be compared with published ones" in scores.report


def test_a_margin_is_the_own_prompts_score_less_the_mean_of_the_others():
    torch.manual_seed(0)
    texts, pictures = (torch.nn.functional.normalize(torch.randn(4, 8), dim=1) for _ in range(2))
    texts[3] = texts[0]  # the same prompt with another seed is none of the others
    scores = 100 * pictures @ texts.T
    expected = [
        scores[0, 0] - scores[0, [1, 2]].mean(),
        scores[1, 1] - scores[1, [0, 2, 3]].mean(),
        scores[2, 2] - scores[2, [0, 1, 3]].mean(),
        scores[3, 3] - scores[3, [1, 2]].mean(),
    ]
    assert margins(texts, pictures) == pytest.approx([float(e) for e in expected], abs=1e-4)


def test_the_interval_of_a_mean_is_that_of_many_resamplings():
    values = np.random.default_rng(1).normal(3, 2, 200)
    low, high = interval_of_mean(values)
    assert low == pytest.approx(values.mean() - 1.96 * values.std() / 200**0.5, abs=0.05)
    assert high == pytest.approx(values.mean() + 1.96 * values.std() / 200**0.5, abs=0.05)
    assert all(map(np.isnan, interval_of_mean(values[:1])))


def test_the_summary_has_a_gain_for_every_model_and_for_margins():
    scores = pd.DataFrame({"base": [1.0, 2.0], "tuned": [3.0, 6.0], "ema": [2.0, 2.0]})
    scores = scores.assign(**{f"{name}_margin": scores[name] / 2 for name in scores})
    means = summarise(scores)["mean"].to_dict()
    expected = {"base": 1.5, "tuned": 4.5, "gain": 3.0, "ema": 2.0, "gain of ema": 0.5}
    assert means == expected | {f"margin, {name}": value / 2 for name, value in expected.items()}


def test_a_damaged_tuned_model_is_never_scored(tuned, small_sana):
    weights = tuned.folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match="missing or damaged"):
        load_tuned(tuned, small_sana)


def test_captions_are_picked_evenly_where_no_prompts_are_given(encode, encode_texts, make_pictures):
    table = encode(make_pictures({f"{letter}.png": (64, 64) for letter in "abcdefgh"}))[0]
    captions = encode_texts(table)
    picked = evaluation_prompts(captions, EvaluationSettings(evaluation_prompts_limit=4))
    assert picked == ["a", "c", "e", "g"]
    assert len(evaluation_prompts(captions, EvaluationSettings())) == 8


def test_an_unknown_clip_model_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'ViT-L-14-336'"):
        load_clip(EvaluationSettings(evaluation_model="ViT-L-14-337"))


def test_an_unknown_pretrained_tag_gets_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'openai'"):
        load_clip(EvaluationSettings(evaluation_pretrained="opnai"))


def test_weights_that_can_not_be_had_are_one_line():
    with pytest.raises(InputError, match="can't be had") as caught:
        load_clip(EvaluationSettings())  # the hub is not there in tests
    assert "\n" not in caught.value.message


def test_a_local_checkpoint_is_loaded(tmp_path):
    model = load_clip_of("RN50", tmp_path)
    clip = load_clip(
        EvaluationSettings(evaluation_model="RN50", evaluation_pretrained=str(tmp_path / "rn50.safetensors"))
    )
    picture = Image.new("RGB", (64, 64), "red")
    with torch.no_grad():
        expected = model.encode_image(clip.preprocess(picture)[None], normalize=True)
    torch.testing.assert_close(clip.embed_pictures([picture], batch_size=1), expected)


def load_clip_of(name: str, folder: Path):
    """A seeded random open_clip model, saved as a checkpoint."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    save_file(model.state_dict(), folder / "rn50.safetensors")
    return model
