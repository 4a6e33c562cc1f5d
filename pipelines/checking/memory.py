"""Whether a step fits into the card's memory: `python -m sanaflow fit` in two lines."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.checking.finding import Finding, Look
from sanaflow.config import RunSettings
from sanaflow.model.reference import ModelReference

if TYPE_CHECKING:
    from sanaflow.training.memory import MemoryEstimate

WHERE = "training"


def look_at_memory(
    run: RunSettings, model: ModelReference, path: Path, *, memory_gib: float | None, here: bool
) -> Look["MemoryEstimate"]:
    """What a step takes, against `memory_gib` or, if training runs here, the GPU of this machine."""
    import torch

    from sanaflow.training.fit import GIB, OVERHEAD, largest_latents
    from sanaflow.training.memory import estimate

    latents, tokens = largest_latents(run, model), run.caches.tokenizer_max_length
    asked = estimate(model.config("transformer"), run.training, latent_size=latents, text_tokens=tokens)
    needed = f"a step takes {asked.total / GIB:.2f} GiB, and CUDA about {OVERHEAD / GIB:.0f} more"
    card = memory_gib
    if card is None and here and torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0).total_memory / GIB
    if card is None:
        where = "there is no GPU here" if here else "training runs elsewhere"
        yield Finding("ok", WHERE, f"{needed}; {where}: give the card's memory with --memory to compare")
    elif asked.total + OVERHEAD <= card * GIB:
        yield Finding("ok", WHERE, f"{needed}: it fits into {card:.4g} GiB")
    else:
        way = f"`python -m sanaflow fit {path} --memory {card:.4g}` says what would make it fit"
        yield Finding("error", WHERE, f"{needed}: it does not fit into {card:.4g} GiB; {way}")
    return asked
