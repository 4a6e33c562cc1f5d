"""Every figure that the README quotes: one module a question, `python -m benchmarks.NAME`."""
