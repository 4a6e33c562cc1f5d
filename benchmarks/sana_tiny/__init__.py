"""Builds the bundled model `assets/sana-tiny/` from packaged pictures: `python -m benchmarks.sana_tiny`."""
