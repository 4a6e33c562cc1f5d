"""Read the records of model versions from ZenML."""

from typing import Any

from zenml.client import Client
from zenml.models import ArtifactVersionResponse, ModelVersionResponse, PipelineRunResponse
from zenml.utils.dashboard_utils import get_run_url
from zenml.utils.pagination_utils import depaginate

from materializers.files import FileMaterializer
from pipelines.lineage.records import DATA, Record
from pipelines.lineage.tables import means_of, scores_of
from sanaflow.errors import InputError, nearest


def read_records(*, dashboard: str | None = None, intervals: bool = True) -> list[Record]:
    """All model versions of the active project, the oldest first.

    Args:
        dashboard: Address of the server whose pages are linked; None: that of the client's server, if it has one.
        intervals: Work out those of the gains: half a second a version where thousands of pictures were scored.
    """
    versions = depaginate(Client().list_model_versions, hydrate=True, sort_by="asc:created")
    return [_record(version, dashboard, intervals) for version in versions]


def read_record(name: str, *, dashboard: str | None = None) -> Record:
    """One version: 'sana@3', 'sana@production', 'sana@latest'; 'sana' is the latest, too.

    Raises:
        InputError: There is none of that name.
    """
    model, _, version = name.rpartition("@") if "@" in name else (name, "", "latest")
    try:
        return _record(Client().get_model_version(model, version), dashboard, True)
    except KeyError:
        known = [f"{v.model.name}@{v.name}" for v in depaginate(Client().list_model_versions, sort_by="desc:created")]
        alike = [other for other in known if other.startswith(f"{model}@")][:20]
        hint = f"there are {', '.join(alike)}" if alike else nearest(name, known) if known else "there are none yet"
        raise InputError(f"there is no model version '{name}': {hint}") from None


def _record(version: ModelVersionResponse, dashboard: str | None, intervals: bool) -> Record:
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
        **{"run": run.name, "run_id": str(run.id), "run_url": page if dashboard else get_run_url(run)},
        "commit": run.config.extra.get("code_commit"),
        "packages": {k: v for k, v in versions.items() if v} | dict(run.config.extra.get("packages") or {}),
        "settings": dict(run.config.parameters or {}),
    }


def _started_from(trained: ArtifactVersionResponse) -> str | None:
    try:
        files = FileMaterializer(trained.uri, Client().active_stack.artifact_store)
        return files.read_json("model.json").get("started_from")
    except InputError:  # another stack keeps it
        return None
