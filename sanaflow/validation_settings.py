"""Pictures and losses measured while training."""

import re
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from sanaflow.paths import json_or_path
from sanaflow.section import Section

SIZE = re.compile(r"(\d+)(?:[xX](\d+))?")
EDGE_PIXELS = 32
"""`SanaPipeline` wants edges that this divides."""


def check_resolution(given: Any) -> Any:
    """'1024x1024,1280x768' or one edge, as text.

    Raises:
        ValueError: It is something else, or has edges that `SanaPipeline` can't draw.
    """
    if given is None:
        return None
    for part in str(given).split(","):
        found = SIZE.fullmatch(part.strip())
        if not found:
            raise ValueError(f"'{part.strip()}' is no size: write '1024x1024,1280x768' or one edge")
        if any(int(edge) < EDGE_PIXELS or int(edge) % EDGE_PIXELS for edge in found.groups() if edge):
            raise ValueError(f"'{part.strip()}': edges should be multiples of {EDGE_PIXELS} pixels")
    return str(given)


def sizes_of(resolution: str) -> list[tuple[int, int]]:
    """Every (width, height) in pixels of what `check_resolution` took."""
    parts = [SIZE.fullmatch(part.strip()) for part in resolution.split(",")]
    return [(int(part[1]), int(part[2] or part[1])) for part in parts if part]


class ValidationSettings(Section):
    """Pictures drawn, and losses on held-out pictures measured, while training."""

    validation_prompt: str | None = None
    """One prompt, named 'validation'."""
    user_prompt_library: dict[str, str] = Field(default_factory=dict)
    """More prompts by name, here or in a JSON file whose path is given."""
    validation_negative_prompt: str = ""
    """What guidance leads away from, in validation and in scoring."""
    validation_steps: PositiveInt = 500
    """Draw after every so many optimizer steps, and after the last."""
    validation_epoch_interval: PositiveFloat | None = None
    """Draw after every so many epochs, too."""
    validation_on_startup: bool = True
    """Draw before the first step, too."""
    validation_num_inference_steps: PositiveInt = 20
    """Steps of the scheduler for each picture."""
    validation_guidance: float = Field(default=4.5, ge=1)
    """Strength of classifier-free guidance; 1 is without."""
    validation_resolution: str | None = None
    """'1024x1024,1280x768', width x height in pixels, or one edge; null for what the model was made for."""
    validation_seed: int = 42
    """Of each picture's initial noise, the same in every look."""
    eval_steps_interval: PositiveInt | None = None
    """Measure the loss on `dataset_type: eval` sets after so many steps; before the first and after the last always."""
    eval_epoch_interval: PositiveFloat | None = None
    """... or after so many epochs, or such a part of one."""
    num_eval_images: PositiveInt = 16
    """Pictures of each set that it is measured on, the same ones each time."""
    eval_timesteps: PositiveInt = 8
    """Noise levels it is measured at: the middles of equally probable parts of those that Sana was trained with."""
    report_to: Literal["none", "tensorboard", "wandb", "all"] = "none"
    """Where the curves go while training, besides the artifact. W&B's key comes from WANDB_API_KEY or `wandb login`."""
    tracker_project_name: str = "sanaflow"
    """Name of the project in TensorBoard or W&B."""
    tracker_run_name: str | None = None
    """Name of the run there; null: the tracker's own."""

    _read_library = field_validator("user_prompt_library", mode="before")(json_or_path)

    @field_validator("user_prompt_library")
    @classmethod
    def _names_are_names(cls, library: dict[str, str]) -> dict[str, str]:
        for name, prompt in library.items():
            if not re.fullmatch(r"[\w-]+", name) or name == "validation":
                raise ValueError(
                    f"'{name}' can't be a prompt's name, as files are named by it: use letters, digits, '_' and '-', "
                    "and not 'validation', which is validation_prompt's"
                )
            if not prompt.strip():
                raise ValueError(f"the prompt '{name}' is blank")
        return library

    _check_resolution = field_validator("validation_resolution", mode="before")(check_resolution)

    def prompts(self) -> dict[str, str]:
        """All prompts by name."""
        return self.user_prompt_library | ({"validation": self.validation_prompt} if self.validation_prompt else {})

    def sizes(self, native: int) -> list[tuple[int, int]]:
        """Every (width, height) in pixels to draw, where the model was made for an edge of `native`."""
        return sizes_of(self.validation_resolution or str(native))
