"""One model version's record, from ZenML and its artifacts."""

from typing import Any

from zenml.client import Client
from zenml.models import ArtifactVersionResponse, ModelVersionResponse, PipelineRunResponse
from zenml.utils.dashboard_utils import get_run_url
from zenml.utils.pagination_utils import depaginate

from materializers.files import FileMaterializer
from sanaflow.lineage.records import DATA, Record
from steps.lineage.tables import means_of, scores_of


def record_of(version: ModelVersionResponse, dashboard: str | None, intervals: bool) -> Record:
    """What `read_records` takes together of each."""
    client, name = Client(), f"{version.model.name}@{version.name}"
    linked = depaginate(client.list_artifact_versions, model_version_id=version.id, hydrate=True, sort_by="asc:created")
    made = {artifact.artifact.name: artifact for artifact in linked}  # of several of one name, the last
    said = {artifact: dict(found.run_metadata) for artifact, found in made.items()}
    runs = depaginate(client.list_pipeline_runs, model_version_id=version.id, hydrate=True, sort_by="asc:created")
    tuned, base = said.get("tuned_model", {}), said.get("base_model", {})
    known: dict[str, Any] = {
        "stage": version.stage,
        "pictures": said.get("image_table", {}).get("pictures"),
        "data": {called: str(made[artifact].content_hash) for artifact, called in DATA.items() if artifact in made},
        "folders": {artifact: found.uri for artifact, found in made.items()},
        "base_model": tuned.get("base_model") or base.get("model"),
        "base_digest": base.get("digest"),
        "start": str(made["start"].id) if "start" in made else None,
        "weights": tuned.get("digest"),
        "kind": tuned.get("kind"),
        "steps": tuned.get("steps"),
        "scores": scores_of(made["clip_scores"], intervals=intervals) if "clip_scores" in made else {},
        "losses": means_of(made["held_out_loss"]) if "held_out_loss" in made else {},
        "decision": {k: v for k, v in said.get("promotion_decision", {}).items() if k != "storage_size"},
        "release": {
            k: str(v) for k, v in said.get("hub_release", {}).items() if k in ("folder", "repo", "commit", "url")
        },
    }
    if trained := made.get("tuned_model"):
        known |= {"trained_in": str(trained.producer_pipeline_run_id), "started_from": _started_from(trained)}
    if runs:
        known |= _run(runs[0], dashboard)
    created = version.created.isoformat(sep=" ", timespec="milliseconds")
    return Record(name=name, number=version.number, created=created, **known)


def _run(run: PipelineRunResponse, dashboard: str | None) -> dict[str, Any]:
    page = f"{(dashboard or '').rstrip('/')}/projects/{Client().active_project.name}/runs/{run.id}"
    versions = {name: run.client_environment.get(f"{name}_version") for name in ("python", "zenml")}
    return {
        **{
            "status": str(run.status),
            "run": run.name,
            "run_id": str(run.id),
            "run_url": page if dashboard else get_run_url(run),
        },
        "commit": run.config.extra.get("code_commit"),
        "packages": {k: v for k, v in versions.items() if v} | dict(run.config.extra.get("packages") or {}),
        "settings": dict(run.config.parameters or {}),
    }


def _started_from(trained: ArtifactVersionResponse) -> str | None:
    try:
        files = FileMaterializer(trained.uri, Client().active_stack.artifact_store)
        return files.read_json("model.json").get("started_from")
    except Exception:  # another stack keeps it, or its store doesn't answer: no reason for a run to fail
        return None
