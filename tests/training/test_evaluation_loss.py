import pandas as pd
import pytest
import torch

from sanaflow.config import ValidationSettings
from sanaflow.model.loading import load_transformer
from sanaflow.training.evaluation_loss import EvaluationLoss
from tests.training.runs import CPU


@pytest.fixture
def held_out(encode_sets):
    """A set to train on and one that is held out, of two sizes."""
    held_out = {f"{i}.png": (64, 64) for i in range(3)} | {"wide.png": (100, 50)}
    return encode_sets({"train": {"a.png": (64, 64), "b.png": (64, 64)}, "eval": held_out})


def settings(**changes) -> ValidationSettings:
    return ValidationSettings(**{"num_eval_images": 3, "eval_timesteps": 4, **changes})


def test_it_is_the_same_whatever_the_batch_size_and_moves_with_the_weights(held_out, talkative_sana):
    transformer = load_transformer(talkative_sana)
    one = EvaluationLoss(*held_out, settings(), batch_size=1).measure(transformer, CPU)
    many = EvaluationLoss(*held_out, settings(), batch_size=8).measure(transformer, CPU)
    assert [row["dataset"] for row in one] == ["eval"] * 4
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in many], rel=1e-4)
    with torch.no_grad():
        transformer.proj_out.weight.add_(0.1)
    moved = EvaluationLoss(*held_out, settings(), batch_size=8).measure(transformer, CPU)
    assert all(abs(row["loss"] - before["loss"]) > 1e-3 for row, before in zip(moved, many, strict=True))


def test_it_equals_a_plain_computation_at_fixed_noise_and_sanas_quantiles(held_out, talkative_sana):
    from sanaflow.cache.reading import CaptionReader, LatentReader
    from sanaflow.training.randomness import generator

    transformer = load_transformer(talkative_sana)
    latents, captions = held_out
    entries = latents.entries[latents.entries["role"] == "eval"].sort_values(["dataset", "id"]).head(3)
    rows = EvaluationLoss(latents, captions, settings(), batch_size=2).measure(transformer, CPU)
    reader, texts = LatentReader(latents), CaptionReader(captions)
    keys = captions.captions.set_index("id")["key"]
    for i, row in enumerate(rows):
        plain = torch.distributions.Normal(0, 1).icdf(torch.tensor((i + 0.5) / 4, dtype=torch.float64)).sigmoid()
        sigma = (3 * plain / (1 + 2 * plain)).float()
        assert row["sigma"] == pytest.approx(sigma.item())
        losses = []
        for position, picture in entries.iterrows():
            clean = reader.batch([position]).float()
            noise = torch.randn(clean.shape[1:], generator=generator(0, 0, i, f"evaluation of {picture['id']}"))[None]
            embeddings, mask = texts.batch([keys[picture["id"]]])
            with torch.no_grad():
                velocity = transformer(
                    (1 - sigma) * clean + sigma * noise,
                    encoder_hidden_states=embeddings,
                    encoder_attention_mask=mask,
                    timestep=1000 * sigma[None],
                    return_dict=False,
                )[0]
            losses.append((velocity - (noise - clean)).square().mean().item())
        assert row["loss"] == pytest.approx(sum(losses) / 3, rel=1e-4)


def test_a_run_measures_at_the_start_at_intervals_and_at_the_end_for_both_weights(held_out, run):
    options = {"validation": settings(eval_steps_interval=2, eval_epoch_interval=1.0)}
    _, log = run(on=held_out, options=options, max_train_steps=5, gradient_accumulation_steps=1, use_ema=True)
    rows = log.evaluations
    assert rows.groupby("weights")["step"].unique().map(list).to_dict() == {
        "ema": [0, 1, 2, 3, 4, 5],
        "raw": [0, 1, 2, 3, 4, 5],
    }
    by_weights = {weights: part.set_index(["step", "sigma"])["loss"] for weights, part in rows.groupby("weights")}
    assert by_weights["raw"].loc[0].equals(by_weights["ema"].loc[0])
    assert not by_weights["raw"].loc[5].equals(by_weights["ema"].loc[5])


def test_curves_of_runs_with_other_settings_begin_at_the_same_point(held_out, run):
    logs = [
        run(f"{seed}", on=held_out, options={"validation": settings()}, seed=seed, flow_schedule_shift=1.0 + seed)[1]
        for seed in (0, 1)
    ]
    first, second = (log.evaluations[log.evaluations["step"] == 0].reset_index(drop=True) for log in logs)
    pd.testing.assert_frame_equal(first, second)
    assert logs[0].evaluations["step"].unique().tolist() == [0, 6]
