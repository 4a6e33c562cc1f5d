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


@pytest.fixture
def encode_sets(small_sana, tmp_path) -> Callable:
    """Scan, plan and encode several sets: `encode_sets({"train": {"a.png": (64, 64)}, "eval": ...}, eval={...})`."""
    from sanaflow.buckets.plan import plan_crops
    from sanaflow.cache.caption_cache import make_caption_cache
    from sanaflow.cache.folder import FolderStore
    from sanaflow.cache.latent_cache import make_latent_cache
    from sanaflow.datasets import DatasetSettings
    from sanaflow.images.scan import scan_datasets
    from tests.conftest import fp32, write_pictures

    def encode(pictures: dict[str, dict], **more):
        sets = []
        for number, name in enumerate([*pictures, *(more.keys() - pictures.keys())]):
            if name in pictures:
                write_pictures(tmp_path / name, pictures[name], seed=number)
            kind = {"dataset_type": "eval"} if name == "eval" else {}
            sets.append(
                DatasetSettings(
                    id=name, instance_data_dir=str(tmp_path / name), resolution=64, **kind, **more.get(name, {})
                )
            )
        table = scan_datasets(sets, folder=tmp_path / "index")
        plan = plan_crops(table.pictures, sets, alignment=8)
        latents = make_latent_cache(
            table, plan, model=small_sana, settings=fp32(), store=FolderStore(tmp_path / "latents")
        )
        captions = make_caption_cache(
            table,
            prompts=(),
            negative_prompts=(),
            model=small_sana,
            settings=fp32(),
            store=FolderStore(tmp_path / "captions"),
        )
        return latents, captions

    return encode
