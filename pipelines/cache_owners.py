"""Which shards of the active stack's store are referred to by artifacts of this ZenML server."""

from contextlib import suppress

import pandas as pd
from zenml.client import Client
from zenml.utils.pagination_utils import depaginate

from materializers.caption_cache import CaptionCacheMaterializer
from materializers.files import FileMaterializer
from materializers.latent_cache import LatentCacheMaterializer
from sanaflow.errors import InputError


def owners_of(kind: str) -> pd.DataFrame:
    """`key`, `dataset` and `shard` of all that artifact versions in the active store refer to, in every project."""
    client = Client()
    place = client.active_stack.artifact_store.path.rstrip("/")
    frames = [pd.DataFrame(columns=["key", "dataset", "shard"])]
    for project in depaginate(client.list_projects):
        for version in depaginate(client.list_artifact_versions, artifact=f"{kind[:-1]}_cache", project=project.id):
            if version.uri.startswith(f"{place}/"):  # by its place: two components may share one
                with suppress(InputError):  # its files are gone: nothing can use it any more
                    frames.append(_references(kind, version.uri))
    return pd.concat(frames, ignore_index=True)


def _references(kind: str, uri: str) -> pd.DataFrame:
    artifact_store = Client().active_stack.artifact_store
    if kind == "latents":
        files: FileMaterializer = LatentCacheMaterializer(uri, artifact_store)
        return files.read_frame("entries.parquet")[["key", "dataset", "shard"]]
    files = CaptionCacheMaterializer(uri, artifact_store)
    datasets = files.read_frame("captions.parquet")[["key", "dataset"]].drop_duplicates()
    texts = files.read_frame("texts.parquet")[["key", "shard"]]
    return texts.merge(datasets, on="key", how="left").fillna({"dataset": "(prompts)"})
