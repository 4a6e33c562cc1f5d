"""Fine-tune NVIDIA's Sana: from files to a table, a plan, caches, weights, scores and a release. Never imports
zenml."""

import logging

# On import it warns of a missing CPU kernel for 4-bit weights, which is no news to anyone who doesn't use them.
logging.getLogger("bitsandbytes.backends.cpu").setLevel(logging.ERROR)
