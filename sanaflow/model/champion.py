"""The model whose place a tuned one would take."""

from dataclasses import dataclass, replace

from sanaflow.errors import InputError
from sanaflow.model.tuned import SanaModel

SHAPE = ("model_type", "lora_type", "lycoris_config", "lora_rank", "lora_target_modules", "use_dora")
"""Settings that weights have to share for one to go on from the other."""


@dataclass(frozen=True)
class Champion:
    """What is in the stage now.

    Attributes:
        version: The model version's name; None: there is none.
        tuned: The weights that are to be scored, if any are.
        keeps_its_place: Why it does whatever the scores are; None: the scores decide.
    """

    version: str | None = None
    tuned: SanaModel | None = None
    keeps_its_place: str | None = None

    def digest(self) -> str:
        """Of the weights that are scored: another version of the same ones changes no score."""
        return self.tuned.digest() if self.tuned else "none"


def as_champion(version: str, champion: SanaModel, tuned: SanaModel, before: Champion | None = None) -> Champion:
    """A model version's weights as the champion that `tuned` is held against.

    Args:
        version: The champion's.
        champion: Its weights.
        tuned: What is held against it.
        before: Whose place it took. If it is `tuned` itself, it goes on being scored beside that, as it was.
    """
    if champion.digest() == tuned.digest():
        said = f"version {version} has these very weights"
        return Champion(version, before.tuned if before else None, keeps_its_place=said)
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


def start_from(
    version: str, champion: SanaModel, *, base_digest: str, data: dict[str, str], settings: dict
) -> Champion:
    """What a run begins with that goes on from the champion.

    A champion that was made of these very data with these settings is what the run would make: it begins with what
    that began with, so that nothing is trained again.

    Args:
        version: The champion's.
        champion: Its weights.
        base_digest: Of the run's base model.
        data: Digests of the run's caches, as `SanaModel.data_digests`.
        settings: The run's training settings.
    """
    if champion.base_digest != base_digest:
        return Champion(keeps_its_place=f"version {version} is of another base model: training starts from the base")
    if changed := [key for key in SHAPE if champion.settings.get(key) != settings[key]]:
        said = f"version {version} has another '{changed[0]}' ({champion.settings.get(changed[0])!r})"
        return Champion(keeps_its_place=f"{said}: training starts from the base")
    if (champion.data_digests, champion.settings) == (data, settings):
        if champion.started_from is None:
            return Champion()
        folder = champion.folder.parent / champion.started_from
        before = replace(champion, folder=folder, started_from=None, ema=(folder / "ema").is_dir())
        return Champion(f"the one before {version}", before)
    return Champion(version, champion)
