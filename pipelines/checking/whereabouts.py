"""Which steps of a run work on this machine: only what they will use can be looked at from here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zenml.client import Client
from zenml.stack import Stack

HERE = "local"
"""The flavor of the orchestrator that runs steps in this process."""


@dataclass(frozen=True)
class Whereabouts:
    """Of one run.

    Attributes:
        stack: The active one.
        content: The run's YAML.
    """

    stack: Stack
    content: Mapping[str, Any]

    def is_here(self, *steps: str) -> bool:
        """Whether all of these steps run on this machine."""
        said = self.content.get("steps") or {}
        moved = any((said.get(step) or {}).get("step_operator") for step in steps)
        return self.stack.orchestrator.flavor == HERE and not moved

    @property
    def brings_secrets(self) -> bool:
        """Whether steps are given secrets that this process doesn't have: by the YAML, the stack or a component."""
        said = [self.content, *(step or {} for step in (self.content.get("steps") or {}).values())]
        parts: list[Any] = [self.stack, *self.stack.components.values()]
        of_parts = [part.secrets or "HF_TOKEN" in part.environment for part in parts]
        return any([*(one.get("secrets") for one in said), *of_parts])


def whereabouts(content: Mapping[str, Any]) -> Whereabouts:
    """Of the run that this YAML describes, on the active stack."""
    return Whereabouts(Client().active_stack, content)
