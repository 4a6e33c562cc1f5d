import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from sanaflow.config import TrainingSettings
from sanaflow.training.flow import (
    add_noise,
    auto_shift,
    draw_sigmas,
    flow_losses,
    min_snr_weights,
    shift_sigmas,
    sums_by_sigma,
    timesteps,
)
from sanaflow.training.randomness import generator


def test_the_shift_is_that_of_diffusers_scheduler():
    plain = FlowMatchEulerDiscreteScheduler(shift=1.0).sigmas
    shifted = FlowMatchEulerDiscreteScheduler(shift=3.0).sigmas
    torch.testing.assert_close(shift_sigmas(plain, 3.0), shifted)


def test_auto_shift_is_that_of_diffusers_scheduler_and_of_the_measured_table():
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    for tokens, mu in ((256, 0.5), (4096, 1.15), (1024, 0.63)):
        sigmas = torch.tensor([0.1, 0.5, 0.9])
        expected = scheduler.time_shift(mu, 1.0, sigmas)
        torch.testing.assert_close(shift_sigmas(sigmas, auto_shift(tokens)), expected)


def test_sigmas_are_logit_normal_with_sanas_median():
    quantiles = torch.rand(20_000, generator=generator(0, 0, 0, "test"), dtype=torch.float64)
    sigmas = draw_sigmas(quantiles, tokens=64, settings=TrainingSettings())
    assert sigmas.median().item() == pytest.approx(0.75, abs=0.01)
    assert sigmas.min() > 0 and sigmas.max() < 1
    unshifted = sigmas / (3 - 2 * sigmas)
    assert unshifted.logit().std().item() == pytest.approx(1, abs=0.02)


def test_noise_is_mixed_and_the_perfect_velocity_has_no_loss():
    latents, noise = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    sigmas = torch.tensor([0.0, 0.25, 1.0])
    mixed = add_noise(latents, noise, sigmas)
    assert torch.equal(mixed[0], latents[0]) and torch.equal(mixed[2], noise[2])
    torch.testing.assert_close(mixed[1], 0.75 * latents[1] + 0.25 * noise[1])
    assert flow_losses(noise - latents, noise - latents).tolist() == [0, 0, 0]
    assert flow_losses((noise - latents).bfloat16(), noise - latents).dtype == torch.float32


def test_the_model_is_told_a_thousand_times_the_shifted_sigma():
    assert timesteps(torch.tensor([0.75])).tolist() == [750]


def test_losses_are_summed_and_counted_by_noise_level():
    sums, counts = sums_by_sigma(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0.1, 0.2, 0.9]), bins=4)
    assert sums.tolist() == [4, 0, 0, 5] and counts.tolist() == [2, 0, 0, 1]


QUANTILES = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000


@pytest.mark.parametrize(
    ("settings", "unshifted"),
    [
        ({}, torch.distributions.Normal(0, 1).icdf(QUANTILES).sigmoid()),
        ({"flow_sigmoid_scale": 2.0}, torch.distributions.Normal(0, 2).icdf(QUANTILES).sigmoid()),
        ({"flow_use_uniform_schedule": True}, QUANTILES),
    ],
)
def test_each_distribution_has_its_own_quantiles(settings, unshifted):
    for shift in (0.1, 1.0, 4.0):
        drawn = draw_sigmas(QUANTILES, tokens=64, settings=TrainingSettings(flow_schedule_shift=shift, **settings))
        torch.testing.assert_close(drawn, (shift * unshifted / (1 + (shift - 1) * unshifted)).float())


def test_the_beta_schedule_has_betas_mean_and_deviation():
    settings = {"flow_use_beta_schedule": True, "flow_beta_schedule_alpha": 2.0, "flow_beta_schedule_beta": 5.0}
    drawn = draw_sigmas(QUANTILES, tokens=64, settings=TrainingSettings(flow_schedule_shift=1.0, **settings))
    beta = torch.distributions.Beta(2.0, 5.0)
    assert drawn.mean().item() == pytest.approx(beta.mean.item(), abs=1e-3)
    assert drawn.std().item() == pytest.approx(beta.stddev.item(), abs=1e-3)


def test_a_masked_place_has_no_loss():
    predicted, target = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2)
    mask = torch.tensor([[[[1.0, 0.5], [0.0, 0.0]]]])
    assert flow_losses(predicted, target, mask=mask).item() == pytest.approx(1.5 / 4)


def test_min_snr_weights_weigh_the_error_of_the_denoised_latents():
    sigmas, latents, noise = torch.tensor([0.1, 0.5, 0.9]), torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    predicted = torch.randn(3, 4, 2, 2)
    mixed, mix = add_noise(latents, noise, sigmas), sigmas[:, None, None, None]
    denoised = mixed - mix * predicted
    snr = ((1 - sigmas) / sigmas).square()
    expected = torch.minimum(snr, torch.tensor(5.0)) * (denoised - latents).square().mean(dim=(1, 2, 3))
    found = min_snr_weights(sigmas, 5.0) * flow_losses(predicted, noise - latents)
    torch.testing.assert_close(found, expected)


def test_random_numbers_depend_on_seed_rank_step_and_purpose_alone():
    def draw(*key):
        return torch.rand(1, generator=generator(*key)).item()

    keys = [(0, 0, 0, "a"), (1, 0, 0, "a"), (0, 1, 0, "a"), (0, 0, 1, "a"), (0, 0, 0, "b")]
    assert len({draw(*key) for key in keys}) == len(keys)
    assert [draw(*key) for key in keys] == [draw(*key) for key in keys]
