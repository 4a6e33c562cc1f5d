"""Look at the pictures and their captions, wherever they are."""

from typing import Annotated

from zenml import step

from materializers.image_table import ImageTableMaterializer
from sanaflow.config import QualitySettings
from sanaflow.datasets import DatasetSettings
from sanaflow.images.scan import scan_datasets
from sanaflow.images.table import ImageTable
from steps.store_folder import store_folder


@step(enable_cache=False, output_materializers=ImageTableMaterializer)
def download_dataset(
    datasets: tuple[DatasetSettings, ...], quality: QualitySettings
) -> Annotated[ImageTable, "image_table"]:
    """List every picture with its size and captions, and every file that was left out with the reason.

    Runs every time: it is a look at the world. What follows is cached as long as it finds the same. What lies elsewhere
    is downloaded into the artifact store; what is there already, or was read before, isn't read again.
    """
    return scan_datasets(datasets, folder=store_folder("pictures"), quality=quality)
