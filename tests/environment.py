"""A throw-away ZenML home, hub and hub cache for the session, set before ZenML and the hub's client are imported."""

import os
import tempfile
from pathlib import Path

from tests.servers.hub import HubServer

PROJECT = Path(__file__).resolve().parent.parent
HOME = Path(tempfile.mkdtemp(prefix="sanaflow-tests-"))
SMALL_SANA = HOME / "small-sana"
"""Random weights; `conftest.py` writes them. What is to learn or to draw takes the bundled model."""
SANA_TINY = PROJECT / "assets" / "sana-tiny"
HUB = HubServer().__enter__()
os.environ.update(
    ZENML_CONFIG_PATH=str(HOME / "zenml"),
    ZENML_LOCAL_STORES_PATH=str(HOME / "stores"),
    ZENML_ANALYTICS_OPT_IN="false",
    ZENML_LOGGING_VERBOSITY="INFO",
    ZENML_LOGGING_COLORS_DISABLED="true",
    HF_HOME=str(HOME / "huggingface"),
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_ENDPOINT=HUB.url,
)
os.environ.pop("HF_TOKEN", None)
