import math

import pytest
import torch

from sanaflow.evaluation.similarity import distribution_distance, likeness, nearest


def unit(count: int, *, seed: int, around: torch.Tensor | None = None) -> torch.Tensor:
    vectors = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors + (0 if around is None else 3 * around), dim=1)


def test_the_distance_is_the_unbiased_maximum_mean_discrepancy():
    drawn, real = unit(3, seed=0), unit(4, seed=1)

    def kernel(a, b):
        return math.exp(-float((a - b).square().sum()) / (2 * 10**2))

    within = [
        sum(kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j) / (len(s) * (len(s) - 1))
        for s in (drawn, real)
    ]
    across = sum(kernel(a, b) for a in drawn for b in real) / 12
    assert distribution_distance(drawn, real) == pytest.approx(1000 * (within[0] + within[1] - 2 * across), abs=1e-4)


def test_two_halves_of_one_set_are_nearer_than_two_sets_however_few_they_are():
    there, elsewhere = torch.eye(16)[0], torch.eye(16)[1]
    same = [distribution_distance(unit(8, seed=i, around=there), unit(8, seed=99, around=there)) for i in range(20)]
    other = [
        distribution_distance(unit(8, seed=i, around=elsewhere), unit(8, seed=99, around=there)) for i in range(20)
    ]
    assert abs(sum(same) / 20) < 0.3
    assert min(other) > max(same)


def test_a_single_picture_has_no_distance():
    assert math.isnan(distribution_distance(unit(1, seed=0), unit(4, seed=1)))


def test_likeness_is_of_pictures_of_different_prompts_alone():
    pictures = unit(4, seed=0)
    cosines = pictures @ pictures.T
    expected = (cosines[0, 2] + cosines[0, 3] + cosines[1, 2] + cosines[1, 3] + cosines[2, 3]) / 5
    assert likeness(pictures, ["a", "a", "b", "c"]) == pytest.approx(float(expected), abs=1e-6)
    assert likeness(pictures[:1].repeat(3, 1), ["a", "b", "c"]) == pytest.approx(1)
    assert math.isnan(likeness(pictures, ["a"] * 4))


def test_the_nearest_of_many_is_found_with_its_cosine():
    among = unit(5, seed=0)
    values, positions = nearest(among[[3, 1]], among)
    assert positions.tolist() == [3, 1]
    assert values.tolist() == pytest.approx([1, 1], abs=1e-6)
