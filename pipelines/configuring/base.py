"""The model that a run starts from, by a published one's name, or a folder or hub id of one's own."""

from dataclasses import dataclass
from typing import Any

from sanaflow.config import ModelSettings
from sanaflow.errors import InputError, nearest
from sanaflow.model.variants import COMPRESSION, VARIANTS, variant_of

SMALL_PICTURES = 724
"""Edge below which the middle picture is nearer to 512 than to 1024 px, in octaves."""


@dataclass(frozen=True)
class Base:
    """A model: what stands in the YAML, its transformer's config.json, the size it was made for."""

    name: str
    config: dict[str, Any]
    edge: int
    pixels_per_token: int

    def read_resolution(self, answer: str) -> int:
        """An edge in pixels that it can be trained at.

        Raises:
            InputError: It is no number, more than it was made for, or can't be divided into tokens.
        """
        if not answer.isdecimal():
            raise InputError(f"'{answer}' is no number of pixels, such as {self.edge}")
        edge, step = int(answer), self.pixels_per_token
        if edge % step or not edge:
            below = max(step, edge // step * step)
            raise InputError(f"{edge} can't be divided by {step}, this model's pixels a token: {below} can")
        if edge > self.edge:
            raise InputError(f"this model was made for {self.edge} px: take {self.edge} or less, or a larger model")
        return edge


def suggested_model(edge: int | None) -> str:
    """The name of the model to begin with, for pictures of about this edge in pixels."""
    return "1.6b-512" if edge and edge < SMALL_PICTURES else "1.6b-1024"


def listed_models() -> str:
    """Every name with what it is for."""
    return "\n".join(f"  {name:<14} {variant.edge:>4} px  {variant.about}" for name, variant in VARIANTS.items())


def read_model(answer: str) -> Base:
    """The model that an answer names.

    Raises:
        InputError: There is no such model, or it is no Sana.
    """
    if variant := VARIANTS.get(answer) or variant_of(answer):
        return Base(variant.hub_id, variant.config(), variant.edge, COMPRESSION)
    if "/" not in answer:
        raise InputError(f"there is no model '{answer}': {nearest(answer, VARIANTS)}")

    from sanaflow.model.loading import native_resolution, pixels_per_token
    from sanaflow.model.reference import resolve_model

    model = resolve_model(ModelSettings(pretrained_model_name_or_path=answer))
    return Base(answer, model.config("transformer"), native_resolution(model), pixels_per_token(model))
