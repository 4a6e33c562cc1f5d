"""What the two kinds of encoding work have in common: how they are told on the dashboard."""

from typing import ClassVar

import pandas as pd
from zenml.enums import VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer


class WorkMaterializer(FileMaterializer):
    """A materializer of work that is split among workers."""

    SKIP_REGISTRATION = True
    NOUN: ClassVar[str]

    def counts(self, total: int, missing: pd.DataFrame) -> dict[str, MetadataType]:
        """How many there are in all, and how many of them are to be encoded."""
        return {self.NOUN: total, "to_encode": len(missing), "reused": total - len(missing)}

    def draw_counts(self, total: int, missing: pd.DataFrame) -> dict[str, VisualizationType]:
        """The same for people, and each worker's part."""
        lines = [f"# {total - len(missing):,} of {total:,} {self.NOUN} reused, {len(missing):,} to encode", ""]
        for worker, part in missing.groupby("worker"):
            lines.append(
                f"- worker {worker + 1}: {len(part):,} in {part.groupby(['shape', 'batch']).ngroups:,} batches"
            )
        return self.draw_text("work.md", "\n".join(lines) + "\n")
