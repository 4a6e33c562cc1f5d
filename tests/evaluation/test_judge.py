import json
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from PIL import Image

from sanaflow.config import EvaluationSettings, ValidationSettings
from sanaflow.errors import InputError
from sanaflow.evaluation.clip import load_clip
from sanaflow.evaluation.judge import clip_scores, margins, score_clip
from sanaflow.evaluation.packaged_clip import build_packaged_clip
from sanaflow.evaluation.scores import interval_of_mean, summarise
from sanaflow.model.tunable import load_tuned
from tests.environment import PROJECT

PACKAGED = EvaluationSettings(
    evaluation_model="packaged",
    evaluation_prompts=["red apple", "rocket", "panda"],
    evaluation_seeds=[0, 1],
    evaluation_num_inference_steps=2,
)


@pytest.fixture(scope="module")
def emoji():
    pictures = {}
    for path in sorted((PROJECT / "assets/pictures").glob("*.webp")):
        picture = Image.open(path).convert("RGBA")
        pictures[path.stem] = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return list(pictures), list(pictures.values())


def test_the_packaged_clip_tells_most_of_64_pictures_apart(emoji):
    names, pictures = emoji
    clip = load_clip(PACKAGED)
    scores = clip.embed_prompts(names, batch_size=32) @ clip.embed_pictures(pictures, batch_size=32).T
    own = torch.arange(64)
    assert (scores.argmax(dim=1) == own).float().mean() > 0.5
    assert (scores.argmax(dim=0) == own).float().mean() > 0.5


def test_scores_equal_open_clip_by_hand(emoji):
    names, pictures = (one[:6] for one in emoji)
    clip = load_clip(PACKAGED)
    scores = clip_scores(clip.embed_prompts(names, batch_size=2), clip.embed_pictures(pictures, batch_size=4))
    model, preprocess, tokenizer = build_packaged_clip()
    with torch.no_grad():
        for name, picture, score in zip(names, pictures, scores, strict=True):
            image = model.encode_image(preprocess(picture)[None])
            text = model.encode_text(tokenizer([name]))
            assert score == pytest.approx(100 * torch.cosine_similarity(image, text).item(), abs=1e-3)


@pytest.fixture
def score(encode, encode_texts, make_pictures, small_sana, tuned):
    """Scores the tuned model beside two pictures: `score(settings, champion=...)`."""

    def run(settings=PACKAGED, **options):
        table, _, latents = encode(make_pictures({"a.png": (64, 64), "b.png": (64, 64)}))
        captions = encode_texts(table, prompts=settings.listed_prompts())
        options = {"validation": ValidationSettings()} | options
        return score_clip(latents, captions, model=small_sana, tuned=tuned, settings=settings, **options)

    return run


def test_base_and_tuned_are_scored_on_the_same_prompts_seeds_and_noise(score):
    scores, gallery = score()
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


def test_every_prompt_is_drawn_at_every_size(score):
    settings = PACKAGED.model_copy(update={"evaluation_resolution": "64,96x64", "evaluation_seeds": (0,)})
    scores, gallery = score(settings)
    assert scores.scores[["prompt", "width", "height"]].values.tolist() == [
        [prompt, *size] for prompt in ("red apple", "rocket", "panda") for size in ((64, 64), (96, 64))
    ]
    assert [picture.size for picture in gallery.pictures] == [(64, 64), (96, 64)] * 6


def test_the_champion_is_scored_beside_the_tuned_model(score, tuned):
    scores, gallery = score(champion=tuned)
    assert (scores.scores["champion"] == scores.scores["tuned"]).all(), "the same weights draw the same"
    assert summarise(scores.scores).at["gain over champion", "mean"] == 0
    assert set(gallery.rows["label"]) == {"base", "tuned", "champion"}
    assert scores.checks["model"].tolist() == ["base", "tuned", "champion", "real"]


def test_drawn_pictures_are_held_against_the_real_ones(score, tuned):
    scores, _ = score()
    checks = scores.checks.set_index("model")
    assert (
        checks.loc[["base", "tuned"], ["distance_to_training", "likeness", "nearest_training"]].notna().all(axis=None)
    )
    assert checks["distance_to_held_out"].isna().all(), "nothing is held out"
    assert checks.at["tuned", "nearest_training"] == pytest.approx(scores.scores["tuned_nearest"].max())
    assert scores.scores["tuned_nearest_name"].str.fullmatch(r"set/[0-9a-f]{64}").all()


def test_the_report_shows_all_models_and_what_each_picture_is_most_like(score):
    report = score()[0].report
    assert report.count("data:image/jpeg") == 18, "six prompts and seeds by base and tuned, and the nearest real ones"
    assert report.count("data:image/png") == 2
    assert "can't be compared with published ones" in report
    assert "http" not in report, "it needs no network"


def test_prompts_by_group_have_a_summary_each(score):
    groups = {"old <b>": ("rocket", "panda"), "new": ("red apple",)}
    report = score(PACKAGED.model_copy(update={"evaluation_prompts": groups}))[0].report
    assert "<h2>old &lt;b&gt;</h2>" in report
    assert "<h2>new</h2>" in report


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
    scores = pd.DataFrame({"base": [1.0, 2.0], "tuned": [3.0, 6.0], "raw": [2.0, 2.0]})
    scores = scores.assign(**{f"{name}_margin": scores[name] / 2 for name in scores})
    means = summarise(scores)["mean"].to_dict()
    expected = {"base": 1.5, "tuned": 4.5, "raw": 2.0, "gain": 3.0, "gain of raw": 0.5}
    assert means == expected | {f"margin, {name}": value / 2 for name, value in expected.items()}


def test_a_damaged_tuned_model_is_never_scored(tuned, small_sana):
    weights = tuned.folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match="missing or damaged"):
        load_tuned(tuned, small_sana)


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


def test_a_model_on_the_hub_is_loaded(tmp_path, hub):
    model = load_clip_of("RN50", tmp_path)
    config = {"model_cfg": open_clip.get_model_config("RN50"), "preprocess_cfg": {}}
    files = {
        "open_clip_model.safetensors": (tmp_path / "rn50.safetensors").read_bytes(),
        "open_clip_config.json": json.dumps(config).encode(),
    }
    hub.add_repo("models", "lab/clip", files)
    clip = load_clip(EvaluationSettings(evaluation_model="hf-hub:lab/clip"))
    picture = Image.new("RGB", (64, 64), "red")
    with torch.no_grad():
        expected = model.encode_image(clip.preprocess(picture)[None], normalize=True)
    torch.testing.assert_close(clip.embed_pictures([picture], batch_size=1), expected)


def load_clip_of(name: str, folder: Path):
    """A seeded random open_clip model, saved as a checkpoint."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    save_file(model.state_dict(), folder / "rn50.safetensors")
    return model
