import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from sanaflow.training.flow import (
    add_noise,
    auto_shift,
    draw_sigmas,
    flow_losses,
    losses_by_sigma,
    shift_sigmas,
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
    sigmas = draw_sigmas(20_000, shift=3.0, generator=generator(0, 0, 0, "test"))
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
    assert flow_losses(noise - latents, latents, noise).tolist() == [0, 0, 0]
    assert flow_losses((noise - latents).bfloat16(), latents, noise).dtype == torch.float32


def test_the_model_is_told_a_thousand_times_the_shifted_sigma():
    assert timesteps(torch.tensor([0.75])).tolist() == [750]


def test_losses_are_averaged_by_noise_level():
    by_sigma = losses_by_sigma(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0.1, 0.2, 0.9]), bins=4)
    assert by_sigma[0] == 2 and by_sigma[3] == 5 and by_sigma[1:3].isnan().all()


def test_random_numbers_depend_on_seed_rank_step_and_purpose_alone():
    def draw(*key):
        return torch.rand(1, generator=generator(*key)).item()

    keys = [(0, 0, 0, "a"), (1, 0, 0, "a"), (0, 1, 0, "a"), (0, 0, 1, "a"), (0, 0, 0, "b")]
    assert len({draw(*key) for key in keys}) == len(keys)
    assert [draw(*key) for key in keys] == [draw(*key) for key in keys]
