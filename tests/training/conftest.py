"""Small caches of two sizes, and short runs on them."""

from collections.abc import Callable

import pytest

from tests.training.runs import train_on


@pytest.fixture
def caches(encode, encode_texts, make_pictures):
    """Seven pictures of two sizes."""
    sizes = {f"picture number {i}.png": ((64, 64), (100, 50))[i % 3 == 0] for i in range(7)}
    table, _, latents = encode(make_pictures(sizes))
    return latents, encode_texts(table)


@pytest.fixture
def run(caches, small_sana, tmp_path) -> Callable:
    """Trains: `run("folder", learning_rate=1e-3)` gives (tuned, log)."""

    def train(folder: str = "run", *, model=small_sana, on=caches, options=None, **settings):
        return train_on(on, model, tmp_path / folder, settings, **options or {})

    return train
