"""Look after the caches of the active stack's artifact store."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pandas as pd
from zenml.client import Client
from zenml.utils.pagination_utils import depaginate

from materializers.caption_cache import CaptionCacheMaterializer
from materializers.files import FileMaterializer
from materializers.latent_cache import LatentCacheMaterializer
from materializers.shards import shard_store
from sanaflow.cache.folder import FolderStore
from sanaflow.cache.housekeeping import unneeded, usage
from sanaflow.cache.store import ShardStore
from sanaflow.errors import InputError
from sanaflow.progress import progress_bar

KINDS = ("latents", "captions")


@click.group(help=__doc__)
def cache() -> None:
    """Commands."""


def _stores(folder: Path | None) -> Iterator[tuple[str, ShardStore]]:
    for kind in KINDS:
        if folder is None:
            yield kind, shard_store(kind)
        elif (folder / kind).is_dir():
            yield kind, FolderStore(folder / kind)
        else:
            raise InputError(f"--store {folder}: has no folder '{kind}'; name the one that was given to the training")


of_store = click.option("--store", type=click.Path(path_type=Path), help="A folder instead, of a run without ZenML.")


@cache.command("list")
@of_store
def list_caches(store: Path | None) -> None:
    """Entries and bytes by model and data set."""
    for kind, shards in _stores(store):
        owners = _owners(kind) if store is None else pd.DataFrame(columns=["key", "dataset", "shard"])
        files = shards.files()
        table = usage(shards, owners[["key", "dataset"]])
        size = sum(file.size for file in files.values())
        print(f"{kind}: {shards.place}: {len(files):,} files, {size / 2**20:,.1f} MiB")
        if len(table):
            shown = table.assign(MiB=(table.pop("bytes") / 2**20).round(2))
            print(shown.to_string(index=False))


@cache.command()
@of_store
def verify(store: Path | None) -> None:
    """Read every shard and compare its checksum. Damaged ones are put aside; the next run encodes them anew."""
    damaged = 0
    for kind, shards in _stores(store):
        names = shards.names()
        for name in progress_bar(names, desc=f"verifying {kind}", unit="shard"):
            if not shards.verify(name):
                damaged += 1
                print(f"{kind}: {name} is damaged and was put aside")
        print(f"{kind}: {len(names):,} shards verified")
    if damaged:
        raise InputError(f"{damaged:,} shards were damaged: run your pipelines again, which encodes them anew")


@cache.command()
@click.option("--delete", is_flag=True, help="Do it; without this, only tell what would go.")
@click.option(
    "--min-age-hours", default=24.0, show_default=True, help="Leave younger shards: a run may be making them."
)
def prune(delete: bool, min_age_hours: float) -> None:
    """Remove shards that no artifact version of this ZenML server refers to.

    Other servers that share the artifact store are not asked: what they lose is encoded again. Artifact versions of
    deleted runs live on until `zenml artifact prune`.
    """
    for kind, shards in _stores(None):
        files = unneeded(shards, set(_owners(kind)["shard"]), min_age_seconds=min_age_hours * 3600)
        size = f"{len(files):,} files, {sum(files.values()) / 2**20:,.1f} MiB"
        for name in files if delete else ():
            shards.remove(name)
        if files and delete:
            shards.renew_state()  # a run that is under way, or failed, may have counted on them
        print(f"{kind}: {size} {'removed' if delete else 'would go: add --delete'}")


def _owners(kind: str) -> pd.DataFrame:
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
