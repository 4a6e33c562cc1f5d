"""Model versions and what they are made of, as a page beside the run that made the newest."""

from typing import Annotated

from zenml import get_step_context, step

from materializers.lineage_page import LineagePageMaterializer
from sanaflow.lineage.page import LineagePage, lineage_page
from steps.lineage.reader import read_records

NEWEST = 50
"""More are hard to read; `python -m sanaflow lineage --html` draws all of them, and those of other models."""


@step(enable_cache=False, output_materializers=LineagePageMaterializer)
def draw_lineage() -> Annotated[LineagePage, "lineage"]:
    """Draw what the newest versions of the run's model come from, those alone that have weights."""
    records = read_records(model=get_step_context().model.name, newest=NEWEST, intervals=False)
    return LineagePage(lineage_page([record for record in records if record.weights]))
