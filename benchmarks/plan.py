"""What does it take to plan a million pictures in memory, and a hundred million from disk?

python -m benchmarks.plan [--json] [--rows N] [--on-disk N]

Sizes are random, ids are sha256 as text, no pixels are involved. Each measurement is a process of its own, so that its
peak memory is its own; CPU seconds include everything but imports and making the table. A hundred million rows take
15 GB of the temporary folder.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sanaflow.buckets.plan import bucket_table, fill_batches, plan_parquet, plan_rows
from sanaflow.datasets import DatasetSettings

CASES: dict[str, dict[str, Any]] = {
    "sana": {},
    "aligned": {"resolution_type": "pixel_area", "crop": False},
    "random": {"crop_style": "random"},
}
ROW_GROUP = 1_000_000


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--rows", default=1_000_000, show_default=True, help="Rows of the table in memory.")
@click.option("--on-disk", default=100_000_000, show_default=True, help="Rows of the table on disk; 0 for none.")
@click.option("--child", hidden=True, nargs=2, type=str)
def main(as_json: bool, rows: int, on_disk: int, child: tuple[str, str] | None) -> None:
    """Measure and print."""
    if child:
        print(json.dumps(_in_memory(child[0], int(child[1])) if child[0] in CASES else _on_disk(int(child[1]))))
        return
    results = [_in_process(case, rows) for case in CASES]
    results += [_in_process("on disk", on_disk)] if on_disk else []
    if as_json:
        print(json.dumps({"benchmark": "plan", "results": results}))
        return
    print(f"{'case':<10}{'rows':>14}{'buckets':>9}{'CPU s':>8}{'wall s':>8}{'peak GiB':>10}{'before':>8}")
    for r in results:
        print(f"{r['case']:<10}{r['rows']:>14,}{r['buckets']:>9}{r['cpu_s']:>8.1f}{r['wall_s']:>8.1f}"
              f"{r['peak_bytes'] / 2**30:>10.2f}{r['peak_before_bytes'] / 2**30:>8.2f}")  # fmt: skip


def _in_process(case: str, rows: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.plan", "--child", case, str(rows)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise click.ClickException(ended.stderr)
    return json.loads(ended.stdout.splitlines()[-1])


def _dataset(case: str) -> DatasetSettings:
    return DatasetSettings(id="set", instance_data_dir="x", **CASES[case])


def _table(rows: int, seed: int) -> pd.DataFrame:
    noise = np.random.default_rng(seed)
    ids = noise.bytes(32 * rows).hex()
    sizes = noise.integers(300, 6000, (rows, 2))
    columns = {"dataset": "set", "id": [ids[i : i + 64] for i in range(0, len(ids), 64)]}
    return pd.DataFrame(columns | {"width": sizes[:, 0], "height": sizes[:, 1], "repeats": 0})


def _in_memory(case: str, rows: int) -> dict[str, Any]:
    table = _table(rows, 0)
    before, cpu, began = _peak(), time.process_time(), time.perf_counter()
    crops, _ = plan_rows(table, [_dataset(case)], alignment=32)
    fill_batches(crops, 1, oversubscribe=False)
    buckets = len(bucket_table(crops))
    return _result(case, rows, buckets, before, cpu, began)


def _on_disk(rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "table.parquet")
        writer = None
        one = _table(min(rows, ROW_GROUP), 0)  # the same rows again and again: their ids don't matter to a plan
        for _ in range(0, rows, ROW_GROUP):
            group = pa.Table.from_pandas(one, preserve_index=False)
            writer = writer or pq.ParquetWriter(source, group.schema)
            writer.write_table(group)
        assert writer is not None
        writer.close()
        before, cpu, began = _peak(), time.process_time(), time.perf_counter()
        counted = plan_parquet(source, Path(scratch, "crops.parquet"), [_dataset("sana")], alignment=32)
        assert counted["pictures"].sum() == pq.ParquetFile(source).metadata.num_rows
        return _result("on disk", rows, len(counted), before, cpu, began)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _result(case: str, rows: int, buckets: int, before: int, cpu: float, began: float) -> dict[str, Any]:
    seconds = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - began}
    return {
        "case": case,
        "rows": rows,
        "buckets": buckets,
        **seconds,
        "peak_bytes": _peak(),
        "peak_before_bytes": before,
    }


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.plan")
