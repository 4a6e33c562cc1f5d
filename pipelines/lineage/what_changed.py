"""What is not as it was when a model version was made: code, packages, base model, pictures."""

import platform
from collections.abc import Iterator
from importlib import metadata

from zenml.models import PipelineRunResponse

from pipelines.code_commit import code_commit
from pipelines.lineage.picture_changes import captions_by_picture, changes
from sanaflow.config import RunSettings
from sanaflow.errors import InputError
from sanaflow.images.scan import scan_datasets
from sanaflow.lineage.records import Record
from sanaflow.model.reference import resolve_model
from sanaflow.run_yaml import parse_run_settings
from steps.store_folder import store_folder


def what_changed(record: Record, run: PipelineRunResponse) -> Iterator[str]:
    """A line each. Looks at the pictures as a run does, so new ones from elsewhere are downloaded.

    Args:
        record: The version.
        run: The one that trained it.

    Raises:
        InputError: Its settings aren't valid any more, or its pictures or base model are gone.
    """
    settings = parse_run_settings(run.config.parameters or {}, source=f"the settings of {record.name}")
    yield from _code(run.config.extra.get("code_commit"), code_commit())
    for name, version in record.packages.items():
        if version != (now := _version(name)):
            yield f"{name}: {version} then, {now} now"
    base = resolve_model(settings.model)
    if base.digest() != record.base_digest:
        yield f"base model '{base.name}': {record.base_digest} then, {base.digest()} now"
    yield from _pictures(record, settings)


def _code(then: str | None, now: str | None) -> Iterator[str]:
    if then != now:
        way_back = f"; `git worktree add ../then {then.removesuffix('-dirty')}` brings that back" if then else ""
        yield f"code: {then or 'unknown'} then, {now or 'unknown'} now{way_back}"
    elif then is None or then.endswith("-dirty"):
        yield f"code: it was in no commit ({then or 'unknown'}), so whether it is the same can't be told"


def _version(package: str) -> str:
    try:
        return platform.python_version() if package == "python" else metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _pictures(record: Record, settings: RunSettings) -> Iterator[str]:
    table = scan_datasets(settings.datasets, folder=store_folder("pictures"), quality=settings.quality)
    then, now = record.data.get("images"), table.digest()
    if then == now:
        return
    here: dict[str, set[str]] = {}
    for picture in table.pictures.itertuples():
        here.setdefault(str(picture.id), set()).update(map(str, picture.captions))
    try:
        found = changes(captions_by_picture(record), here)
        said = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in found.items())
    except InputError:
        said = "which they were is unknown: the active stack can't read them"
    yield f"pictures: {then} then, {now} now ({said})"
