"""What a store holds, for whom, and what nobody needs any more."""

import time
from collections.abc import Collection

import pandas as pd

from sanaflow.cache.shard import ENDING, DamagedShardError
from sanaflow.cache.store import ShardStore
from sanaflow.progress import progress_bar

NOBODY = "(no artifact)"
USAGE_COLUMNS = ["model", "dataset", "entries", "bytes"]


def usage(store: ShardStore, owners: pd.DataFrame) -> pd.DataFrame:
    """Entries and bytes by model and dataset, columns `USAGE_COLUMNS`.

    What several data sets share is counted for each; what none refers to, for `NOBODY`.

    Args:
        store: What to look at.
        owners: `key` and `dataset` of what artifacts refer to.
    """
    rows = []
    for shard in progress_bar(store.names(), desc="looking at shards", unit="shard", leave=False):
        try:
            contents = store.contents(shard)
        except (DamagedShardError, FileNotFoundError):  # `verify` sees to it
            continue
        each = contents.size / max(1, sum(contents.lengths))
        rows += [
            (contents.model, key, length * each) for key, length in zip(contents.keys, contents.lengths, strict=True)
        ]
    entries = pd.DataFrame(rows, columns=["model", "key", "bytes"])
    known = owners.drop_duplicates(["key", "dataset"])
    owned = entries.merge(known, on="key", how="left").fillna({"dataset": NOBODY})
    table = owned.groupby(["model", "dataset"], as_index=False).agg(entries=("key", "size"), bytes=("bytes", "sum"))
    return table.astype({"bytes": int})[USAGE_COLUMNS]


def unneeded(store: ShardStore, live: Collection[str], *, min_age_seconds: float) -> dict[str, int]:
    """Bytes of each file that may go: damaged ones, and shards that are not `live` and not just being made.

    Args:
        store: What to look at.
        live: Shards that an artifact refers to.
        min_age_seconds: Younger ones stay: a run that is under way, or was killed, will want them.
    """
    now = time.time()
    return {
        name: file.size
        for name, file in store.files().items()
        if not name.endswith(ENDING) or (name not in live and now - file.written >= min_age_seconds)
    }
