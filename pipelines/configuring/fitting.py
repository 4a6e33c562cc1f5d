"""Settings that fit a card: tried from the best to the smallest, by `python -m sanaflow fit`'s own count."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sanaflow.training_settings import TrainingSettings

GIB = 2**30
KEPT_FREE = 0.07
"""Of the card: the most by which a step took more than `fit` expected on a GPU (docs/training.md: 46.2 to 42.9 GiB)."""
TOKENS = 300
KINDS: dict[str, dict[str, Any]] = {
    "full": {"model_type": "full", "learning_rate": 1e-5},
    "lokr": {"model_type": "lora", "lora_type": "lycoris", "learning_rate": 1e-4},
    "lora": {"model_type": "lora", "lora_type": "standard", "base_model_default_dtype": "bf16", "learning_rate": 1e-4},
}
"""What is trained: every weight, LyCORIS' LoKr, a standard LoRA over weights in bf16."""
ABOUT = {"full": "every weight", "lokr": "a LoKr, an adapter of LyCORIS'", "lora": "a standard LoRA"}
BATCH = 4
"""Samples of an optimizer step, in one go or several."""


@dataclass(frozen=True)
class Fit:
    """Settings and the bytes that a step takes with them, CUDA's part included."""

    settings: TrainingSettings
    taken: int

    @property
    def gib(self) -> float:
        """In GiB."""
        return self.taken / GIB


@dataclass(frozen=True)
class Card:
    """What settings have to fit: a model's config.json, its largest latents, and a card's GiB."""

    config: dict[str, Any]
    latents: tuple[int, int]
    memory_gib: float

    def fit(self, kind: str) -> tuple[Fit, bool]:
        """The best settings of a kind that fit, or the smallest, and whether they fit."""
        tried = None
        for settings in _smaller_and_smaller(kind):
            tried = self.with_settings(settings)
            if self._holds(tried):
                return self._with_larger_batch(tried), True
        assert tried
        return tried, False

    def suggested(self) -> str:
        """Every weight if AdamW in fp32 fits; a LoKr if that fits; else a LoRA."""
        full, fits = self.fit("full")
        if fits and full.settings.optimizer == "torch-adamw" and full.settings.base_model_default_dtype == "fp32":
            return "full"
        return "lokr" if self.fit("lokr")[1] else "lora"

    def with_settings(self, settings: TrainingSettings) -> Fit:
        """What a step takes."""
        from sanaflow.training.fit import OVERHEAD
        from sanaflow.training.memory import estimate

        total = estimate(self.config, settings, latent_size=self.latents, text_tokens=TOKENS).total
        return Fit(settings, total + OVERHEAD)

    def _holds(self, fit: Fit) -> bool:
        return fit.taken <= (1 - KEPT_FREE) * self.memory_gib * GIB

    def _with_larger_batch(self, fit: Fit) -> Fit:
        """The same, taking fewer goes for a step's samples where there is room."""
        for batch in (BATCH, BATCH // 2):
            if batch > fit.settings.train_batch_size:
                more = {"train_batch_size": batch, "gradient_accumulation_steps": BATCH // batch}
                if self._holds(larger := self.with_settings(fit.settings.model_copy(update=more))):
                    return larger
        return fit


def _smaller_and_smaller(kind: str) -> Iterator[TrainingSettings]:
    """Settings of one kind."""
    from sanaflow.training.fit import ways_to_take_less

    start = TrainingSettings(train_batch_size=BATCH, **KINDS[kind])
    yield start
    for _, settings in ways_to_take_less(start):
        if (settings.model_type, settings.lora_type) == (start.model_type, start.lora_type):
            yield settings


def memory_here() -> float | None:
    """GiB of the first GPU of this machine, if there is one."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory / GIB if torch.cuda.is_available() else None
