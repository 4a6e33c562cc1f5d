"""The model whose place a tuned one would take."""

from dataclasses import dataclass

from sanaflow.errors import InputError
from sanaflow.model.tuned import SanaModel


@dataclass(frozen=True)
class Champion:
    """What is in the stage now.

    Attributes:
        version: The model version's name; None: there is none.
        tuned: Its weights, if they are to be scored.
        keeps_its_place: Why it does whatever the scores are; None: the scores decide.
    """

    version: str | None = None
    tuned: SanaModel | None = None
    keeps_its_place: str | None = None

    def digest(self) -> str:
        """Of the weights that are scored: another version of the same ones changes no score."""
        return self.tuned.digest() if self.tuned else "none"


def as_champion(version: str, champion: SanaModel, tuned: SanaModel) -> Champion:
    """A model version's weights as the champion that `tuned` is held against."""
    if champion.digest() == tuned.digest():
        return Champion(version, keeps_its_place=f"version {version} has these very weights")
    if champion.base_digest != tuned.base_digest:
        reason = (
            f"version {version} can't be scored beside it: it is of another base model, '{champion.base_model}'; "
            f"take version {version} out of its stage to let the base decide"
        )
        return Champion(version, keeps_its_place=reason)
    try:
        champion.verify()
    except InputError:
        reason = f"version {version} can't be scored: its weights in '{champion.folder}' are missing or damaged"
        return Champion(version, keeps_its_place=reason)
    return Champion(version, champion)
