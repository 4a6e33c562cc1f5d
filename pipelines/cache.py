"""Look after the caches of the active stack's artifact store."""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pandas as pd

from materializers.shards import shard_store
from pipelines.cache_owners import owners_of
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
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_caches(store: Path | None, as_json: bool) -> None:
    """Entries and bytes by model and data set."""
    found = {}
    for kind, shards in _stores(store):
        owners = owners_of(kind) if store is None else pd.DataFrame(columns=["key", "dataset", "shard"])
        files = shards.files()
        table = usage(shards, owners[["key", "dataset"]])
        size = sum(file.size for file in files.values())
        found[kind] = {"place": shards.place, "files": len(files), "bytes": size, "entries": table.to_dict("records")}
        if as_json:
            continue
        print(f"{kind}: {shards.place}: {len(files):,} files, {size / 2**20:,.1f} MiB")
        if len(table):
            shown = table.assign(MiB=(table.pop("bytes") / 2**20).round(2))
            print(shown.to_string(index=False))
    if as_json:
        print(json.dumps(found, indent=2))


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
        files = unneeded(shards, set(owners_of(kind)["shard"]), min_age_seconds=min_age_hours * 3600)
        size = f"{len(files):,} files, {sum(files.values()) / 2**20:,.1f} MiB"
        for name in progress_bar(files, desc=f"removing {kind}", unit="file", leave=False) if delete else ():
            shards.remove(name)
        if files and delete:
            shards.renew_state()  # a run that is under way, or failed, may have counted on them
        print(f"{kind}: {size} {'removed' if delete else 'would go: add --delete'}")
