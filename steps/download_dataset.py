"""Look at the pictures and their captions."""

from typing import Annotated

from zenml import step

from materializers.image_table import ImageTableMaterializer
from sanaflow.config import DatasetSettings
from sanaflow.images.scan import scan_datasets
from sanaflow.images.table import ImageTable


@step(enable_cache=False, output_materializers=ImageTableMaterializer)
def download_dataset(datasets: tuple[DatasetSettings, ...]) -> Annotated[ImageTable, "image_table"]:
    """List every picture with its size and captions, and every file that was left out with the reason.

    Runs every time: it is a look at the world. What follows is cached as long as it finds the same.
    """
    return scan_datasets(datasets)
