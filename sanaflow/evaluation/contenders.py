"""The models that are compared."""

from collections.abc import Callable

from diffusers import SanaTransformer2DModel

from sanaflow.model.loading import load_transformer
from sanaflow.model.reference import ModelReference
from sanaflow.model.tunable import load_tuned
from sanaflow.model.tuned import SanaModel

Contenders = dict[str, Callable[[], SanaTransformer2DModel]]


def contenders(model: ModelReference, tuned: SanaModel, champion: SanaModel | None = None) -> Contenders:
    """How each is loaded, by its name in `sanaflow.evaluation.scores.MODELS`; one at a time fits into memory."""
    found: Contenders = {"base": lambda: load_transformer(model)}
    for version in tuned.versions():
        found[version] = lambda version=version: load_tuned(tuned, model, version)  # type: ignore[misc]
    if champion is not None:
        found["champion"] = lambda: load_tuned(champion, model)
    return found
