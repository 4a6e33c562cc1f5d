"""The decision whether a model is promoted: JSON and Parquet, shown as a table of its rules."""

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.metadata.metadata_types import MetadataType

from materializers.files import FileMaterializer
from sanaflow.digests import digest_of, table_digest
from sanaflow.evaluation.gate import PromotionDecision


class PromotionDecisionMaterializer(FileMaterializer):
    """Stores each rule with its numbers."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (PromotionDecision,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def save(self, data: PromotionDecision) -> None:
        """Write decision.json and rules.parquet."""
        self.write_json("decision.json", {"promote": data.promote, "stage": data.stage, "against": data.against})
        self.write_frame("rules.parquet", data.rules)

    def load(self, data_type: type[Any]) -> PromotionDecision:
        """Read it back."""
        return PromotionDecision(**self.read_json("decision.json"), rules=self.read_frame("rules.parquet"))

    def compute_content_hash(self, data: PromotionDecision) -> str:
        """The same rules and numbers are the same decision."""
        return digest_of([data.promote, data.stage, data.against, table_digest(data.rules)])

    def extract_metadata(self, data: PromotionDecision) -> dict[str, MetadataType]:
        """What was decided and why."""
        return {"promote": data.promote, "stage": data.stage, "against": data.against, "reason": data.reason()}

    def save_visualizations(self, data: PromotionDecision) -> dict[str, VisualizationType]:
        """A line a rule."""
        verdict = f"promoted to {data.stage}" if data.promote else f"not promoted to {data.stage}"
        rows = "\n".join(
            f"| {'yes' if rule.holds else '**no**'} | {rule.rule} | {rule.said} |" for rule in data.rules.itertuples()
        )
        return self.draw_text(
            "decision.md",
            f"# {verdict.capitalize()}\n\nagainst the {data.against}\n\n| holds | rule | |\n|---|---|---|\n{rows}\n",
        )
