"""How fast is a folder of JPEGs looked at the first time, and again? How many bytes of files does the second look read?

python -m benchmarks.scan [--json] [--files N] [--unchanged N] [--folder DIR]

The first look is on N JPEGs of 1600x1200 pixels, each with bytes of its own, written before; the second folder holds
--unchanged small files and is looked at twice. Bytes read are the kernel's count for this process (/proc/self/io), with
those of the index beside it. SimpleTuner's own scan was measured at 124 files a second (48 to 124), of 120 pictures of
256 pixels, headers only and without a hash, on a machine like this one; the ratio is to that.
"""

import contextlib
import io
import json
import os
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

from sanaflow.datasets import DatasetSettings
from sanaflow.images.scan import scan_datasets

SIMPLETUNER = 124
"""Files a second; see above."""


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("--files", default=10_000, show_default=True, help="JPEGs of the first look.")
@click.option("--unchanged", default=100_000, show_default=True, help="Files of the look that is repeated.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write (4 GB for 10,000); a temporary folder.")
def main(as_json: bool, files: int, unchanged: int, folder: Path | None) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch)
        size = _write_jpegs(root / "jpegs", files, (1600, 1200), quality=90)
        first = _look(root / "jpegs", root / "index")
        _write_jpegs(root / "small", unchanged, (16, 16), quality=50)
        _look(root / "small", root / "index of small")
        again = _look(root / "small", root / "index of small")
        index = (root / "index of small/index.sqlite").stat().st_size
    result = {
        "files": files,
        "mean_file_bytes": size,
        "first_look": first | {"files_per_second": files / first["wall_s"]},
        "ratio_to_simpletuner": files / first["wall_s"] / SIMPLETUNER,
        "unchanged_files": unchanged,
        "second_look": again | {"files_per_second": unchanged / again["wall_s"], "index_bytes": index},
    }
    if as_json:
        print(json.dumps({"benchmark": "scan", **result}))
        return
    print(
        f"first look at {files:,} JPEGs of {size / 1e3:.0f} kB: {first['wall_s']:.1f} s, {first['cpu_s']:.1f} CPU s, "
        f"{files / first['wall_s']:,.0f} files/s, {files / first['wall_s'] / SIMPLETUNER:.1f} times SimpleTuner's\n"
        f"second look at {unchanged:,} unchanged files: {again['wall_s']:.1f} s, {again['cpu_s']:.1f} CPU s, "
        f"{again['read_bytes'] / 1e6:.1f} MB read, the index's {index / 1e6:.1f} MB among them"
    )


def _look(folder: Path, index: Path) -> dict[str, float]:
    dataset = DatasetSettings(id="set", instance_data_dir=str(folder))
    before, cpu, began = _bytes_read(), time.process_time(), time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        scan_datasets([dataset], folder=index)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"wall_s": wall, "cpu_s": cpu, "read_bytes": _bytes_read() - before}


def _bytes_read() -> int:
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"])


def _write_jpegs(folder: Path, count: int, size: tuple[int, int], *, quality: int) -> int:
    """Distinct files: each has a number in a comment at its front. Returns their mean size in bytes."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    kinds = []
    for _ in range(8):
        coarse = Image.fromarray(noise.integers(0, 255, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
        kinds.append(buffer.getvalue())
    for number in range(count):
        comment = f"{number:012d}".encode()
        data = kinds[number % len(kinds)]
        marked = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + data[2:]
        Path(folder, f"picture {number:06d}.jpg").write_bytes(marked)
    os.sync()
    return sum(map(len, kinds)) // len(kinds)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.scan")
