"""The table of published models against what is known of them."""

import pytest
import torch
from diffusers import SanaTransformer2DModel

from sanaflow.buckets.tables import SANA_SIZES
from sanaflow.model.variants import COMPRESSION, VARIANTS, variant_of

PARAMETERS = {
    **dict.fromkeys(("0.6b-512", "0.6b-1024"), 591_747_872),
    **dict.fromkeys(("1.6b-512", "1.6b-1024", "1.6b-2048", "1.6b-4096"), 1_604_462_752),
    **{"1.5-1.6b-1024": 1_604_641_952, "1.5-4.8b-1024": 4_721_825_952},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_shape_has_as_many_parameters_as_the_published_model(name):
    variant = VARIANTS[name]
    with torch.device("meta"):
        transformer = SanaTransformer2DModel.from_config(variant.config())
    assert sum(p.numel() for p in transformer.parameters()) == PARAMETERS[name]
    assert transformer.config.sample_size * COMPRESSION == variant.edge
    assert variant.edge in SANA_SIZES and variant_of(variant.hub_id) is variant


def test_another_repository_is_none_of_them():
    assert variant_of("me/my-sana") is None
