"""Sana's parts: loading, attention's numbers, adapters, quantisation, what of it is trained."""

import logging

# For every product in 8 bits it warns that bf16 is cast to fp16: 19,200 lines in 150 steps of the bundled model.
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
