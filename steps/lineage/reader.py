"""Read the records of model versions from ZenML."""

from typing import Any

from zenml.client import Client
from zenml.models import ModelVersionResponse
from zenml.utils.pagination_utils import depaginate

from sanaflow.errors import InputError, nearest
from sanaflow.lineage.records import Record
from steps.lineage.record import record_of


def read_records(
    *, model: str | None = None, newest: int | None = None, dashboard: str | None = None, intervals: bool = True
) -> list[Record]:
    """Model versions of the active project, the oldest first.

    Args:
        model: Only those of this model.
        newest: Only so many, the newest.
        dashboard: Address of the server whose pages are linked; None: that of the client's server, if it has one.
        intervals: Work out those of the gains: half a second a version where thousands of pictures were scored.
    """
    of_one = {"model": model} if model else {}
    page: dict[str, Any] = {"hydrate": True, "sort_by": "desc:created", **of_one}
    versions: list[ModelVersionResponse] = (
        Client().list_model_versions(size=newest, **page).items
        if newest
        else depaginate(Client().list_model_versions, **page)
    )
    return [record_of(version, dashboard, intervals) for version in reversed(versions)]


def read_record(name: str, *, dashboard: str | None = None) -> Record:
    """One version: 'sana@3', 'sana@production', 'sana@latest'; 'sana' is the latest, too.

    Raises:
        InputError: There is none of that name.
    """
    model, _, version = name.rpartition("@") if "@" in name else (name, "", "latest")
    try:
        return record_of(Client().get_model_version(model, version), dashboard, True)
    except KeyError:
        known = [f"{v.model.name}@{v.name}" for v in depaginate(Client().list_model_versions, sort_by="desc:created")]
        alike = [other for other in known if other.startswith(f"{model}@")][:20]
        hint = f"there are {', '.join(alike)}" if alike else nearest(name, known) if known else "there are none yet"
        raise InputError(f"there is no model version '{name}': {hint}") from None
