"""Fixtures of all rooms. `tests.environment` comes first: it sets what ZenML and the hub's client read on import."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.environment import HOME, HUB, SMALL_SANA  # isort: skip
import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from tests.servers.hub import HubServer


@pytest.fixture(scope="session", autouse=True)
def _small_sana_is_written() -> None:
    from benchmarks._random_sana import write_random_sana

    write_random_sana(SMALL_SANA)


@pytest.fixture(scope="session")
def small_sana():
    """The model of random weights, pinned."""
    from sanaflow.config import ModelSettings
    from sanaflow.model.reference import resolve_model

    return resolve_model(ModelSettings(pretrained_model_name_or_path=str(SMALL_SANA)))


@pytest.fixture
def hub() -> HubServer:
    """The hub that all clients of this session talk to, emptied."""
    for kept in (HUB.requests, HUB.failures, HUB.repositories, HUB.lfs_objects):
        kept.clear()
    return HUB


@pytest.fixture(scope="module")
def s3_url():
    """A real S3 server; the keys to it are in the environment."""
    server = ThreadedMotoServer(port=0)
    server.start()
    os.environ |= {"AWS_ACCESS_KEY_ID": "key-of-the-test", "AWS_SECRET_ACCESS_KEY": "secret-of-the-test"}
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del os.environ[name]


@pytest.fixture
def s3_stack(s3_url):
    """ZenML's default stack, but with an empty S3 bucket as its artifact store."""
    from zenml.client import Client
    from zenml.enums import StackComponentType

    bucket = boto3.resource("s3", endpoint_url=s3_url, region_name="us-east-1").Bucket("zenml")
    bucket.create()
    client = Client()
    before = client.active_stack_model
    configuration = {
        **{"path": "s3://zenml", "key": "key-of-the-test", "secret": "secret-of-the-test"},
        "client_kwargs": {"endpoint_url": s3_url},
    }
    kind = StackComponentType.ARTIFACT_STORE
    store = client.create_stack_component("s3", "s3", kind, configuration=configuration)
    parts = {kind: components[0].id for kind, components in before.components.items()}
    stack = client.create_stack("on-s3", parts | {kind: store.id})
    client.activate_stack(stack.id)
    yield bucket
    client.activate_stack(before.id)
    client.delete_stack(stack.id)
    client.delete_stack_component("s3", kind)
    bucket.objects.delete()
    bucket.delete()


@pytest.fixture
def make_pictures(tmp_path: Path) -> Callable[..., Path]:
    """Writes seeded pictures into a folder: `make_pictures({"red ball.png": (64, 48)})`."""

    def make(sizes: dict[str, tuple[int, int]], folder: str = "pictures", seed: int = 0) -> Path:
        return write_pictures(tmp_path / folder, sizes, seed=seed)

    return make


def write_pictures(target: Path, sizes: dict[str, tuple[int, int]], *, seed: int) -> Path:
    noise = np.random.default_rng(seed)
    for name, (width, height) in sizes.items():
        coarse = Image.fromarray(noise.integers(0, 255, (4, 4, 3), dtype=np.uint8))
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(target / name)
    return target


def pytest_sessionfinish() -> None:
    """Leave nothing behind."""
    shutil.rmtree(HOME, ignore_errors=True)


def fp32():
    """Both encoders in full precision, so that results can be compared."""
    from sanaflow.config import CacheSettings

    return CacheSettings(text_encoder_dtype="fp32")


@pytest.fixture
def encode(small_sana, tmp_path) -> Callable:
    """Scan, plan and encode a folder into one store: gives (table, plan, latents)."""

    def run(folder, settings=None, store="latents", **dataset):
        from sanaflow.buckets.plan import plan_crops
        from sanaflow.cache.folder import FolderStore
        from sanaflow.cache.latent_cache import make_latent_cache
        from sanaflow.datasets import DatasetSettings
        from sanaflow.images.scan import scan_datasets

        dataset = DatasetSettings(id="set", instance_data_dir=str(folder), **{"resolution": 64, **dataset})
        table = scan_datasets([dataset], folder=tmp_path / "index")
        plan = plan_crops(table.pictures, [dataset], alignment=8)
        shards = FolderStore(tmp_path / store)
        return table, plan, make_latent_cache(table, plan, model=small_sana, settings=settings or fp32(), store=shards)

    return run


@pytest.fixture
def encode_texts(small_sana, tmp_path) -> Callable:
    """Encode the captions of a table and some prompts into one store."""

    def run(table, prompts=(), negative_prompts=(), settings=None, store="captions"):
        from sanaflow.cache.caption_cache import make_caption_cache
        from sanaflow.cache.folder import FolderStore

        return make_caption_cache(
            table,
            prompts=prompts,
            negative_prompts=negative_prompts,
            model=small_sana,
            settings=settings or fp32(),
            store=FolderStore(tmp_path / store),
        )

    return run


@pytest.fixture
def copy_of_small_sana(tmp_path: Path) -> Path:
    """A copy of the model of random weights to damage."""
    return Path(shutil.copytree(SMALL_SANA, tmp_path / "sana-copy"))


@pytest.fixture
def talkative_sana(copy_of_small_sana: Path):
    """The model with random weights where it has zeros or next to nothing: all of its inputs count."""
    import torch

    from sanaflow.config import ModelSettings
    from sanaflow.model.loading import load_transformer
    from sanaflow.model.reference import resolve_model

    settings = ModelSettings(pretrained_model_name_or_path=str(copy_of_small_sana))
    transformer = load_transformer(resolve_model(settings))
    torch.manual_seed(0)
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.2)
    torch.nn.init.ones_(transformer.caption_norm.weight)
    transformer.save_pretrained(copy_of_small_sana / "transformer")
    return resolve_model(settings)


@pytest.fixture
def tuned(small_sana, tmp_path):
    """All weights tuned: the model of random weights, its last layer drawn anew."""
    import torch

    from sanaflow.model.loading import load_transformer
    from sanaflow.model.tuned import SanaModel, weights_digest

    torch.manual_seed(0)
    transformer = load_transformer(small_sana)
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.2)
    transformer.register_to_config(_name_or_path=None)
    transformer.save_pretrained(tmp_path / "tuned")
    folder = (tmp_path / "tuned").rename(tmp_path / weights_digest(tmp_path / "tuned"))
    data = {"latents": "0" * 64, "captions": "1" * 64}
    return SanaModel(folder, 5, small_sana.name, small_sana.digest(), data, {"seed": 0})


@pytest.fixture
def encode_sets(small_sana, tmp_path) -> Callable:
    """Scan, plan and encode several sets: `encode_sets({"train": {"a.png": (64, 64)}, "eval": ...}, eval={...})`."""
    from sanaflow.buckets.plan import plan_crops
    from sanaflow.cache.caption_cache import make_caption_cache
    from sanaflow.cache.folder import FolderStore
    from sanaflow.cache.latent_cache import make_latent_cache
    from sanaflow.datasets import DatasetSettings
    from sanaflow.images.scan import scan_datasets

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
