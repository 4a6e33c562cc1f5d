"""The base model: where it is, how it is loaded, its attention's numerics; adapters and quantisation."""

import logging

# bitsandbytes warns for every product in 8 bits that bf16 is cast to fp16, 19,200 lines in 150 steps of the bundled
# model, and on a CPU that a package it could do without is missing.
for part in ("autograd._functions", "backends.cpu.ops"):
    logging.getLogger(f"bitsandbytes.{part}").setLevel(logging.ERROR)
