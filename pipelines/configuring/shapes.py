"""Whether the pictures' shapes fill batches."""

import contextlib
import io

import pandas as pd

from pipelines.configuring.questions import Choices
from sanaflow.buckets.plan import bucket_table, plan_rows
from sanaflow.datasets import DatasetSettings


def shapes_short_of(batch: int, choices: Choices) -> str:
    """Why pictures of rare shapes have to be shown more often; '' if every shape fills a batch."""
    found = choices.found
    if not found.sizes:
        return f"a shape with fewer than {batch} pictures is shown more often, instead of refused"
    sizes = pd.DataFrame(found.sizes, columns=["width", "height"])
    rows = sizes.assign(dataset="mine", id=[str(number) for number in sizes.index], repeats=0)
    dataset = DatasetSettings(id="mine", instance_data_dir="mine", resolution=choices.resolution)
    with contextlib.redirect_stdout(io.StringIO()):
        crops, _ = plan_rows(rows, [dataset], alignment=choices.base.pixels_per_token)
    table = bucket_table(crops)
    short = int((table["samples"] < batch).sum())
    of_those = "" if found.all_seen else " of those looked at"
    shapes = f"{short} of {len(table)} shapes{of_those}"
    hold = "holds" if short == 1 else "hold"
    return f"{shapes} {hold} fewer than {batch} pictures, which are shown more often" if short else ""
