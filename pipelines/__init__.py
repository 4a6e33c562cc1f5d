"""What runs: each file reads as a table of contents."""

import os
import sys

if "NO_COLOR" in os.environ or not sys.stderr.isatty():  # else ZenML colours what goes into a log file
    os.environ.setdefault("ZENML_LOGGING_COLORS_DISABLED", "true")
