"""The base model: is it one, and how large is it."""

from collections import Counter
from functools import cache
from pathlib import PurePosixPath

from huggingface_hub import HfApi, try_to_load_from_cache

from pipelines.checking.finding import Finding, Look, in_bytes
from sanaflow.config import RunSettings
from sanaflow.hub import ask_hub
from sanaflow.model.reference import ModelReference, resolve_model
from sanaflow.paths import expanded


def look_at_model(run: RunSettings, hub_answers: bool) -> Look[ModelReference | None]:
    """Pin it, as the run's first step does. Downloads settings only."""
    name = run.model.pretrained_model_name_or_path
    if not hub_answers and not expanded(name).is_dir() and name.count("/") == 1:
        yield Finding("warning", "model", f"'{name}' is no folder here, and the hub wasn't asked for it")
        return None
    model = resolve_model(run.model)
    parts = Counter[str]()
    for path, size in sizes(model).items():
        parts[PurePosixPath(path).parts[0]] += size
    told = ", ".join(f"{part} {in_bytes(size)}" for part, size in parts.most_common(3))
    commit = f"commit {model.commit}" if model.commit else "a folder"
    missing = to_download(model)
    download = f", {in_bytes(missing)} of them to download" if missing else ""
    yield Finding("ok", "model", f"'{name}', {commit}: {in_bytes(sum(parts.values()))} ({told}){download}")
    return model


def sizes(model: ModelReference) -> dict[str, int]:
    """Bytes of every file that is used."""
    if model.commit is None:
        return {path: (model.folder() / path).stat().st_size for path in model.files}
    return {path: size for path, size in _hub_sizes(model.name, model.commit).items() if path in model.files}


@cache
def _hub_sizes(name: str, commit: str) -> dict[str, int]:
    info = ask_hub(
        lambda: HfApi().model_info(name, revision=commit, files_metadata=True),
        subject=f"model '{name}'",
        key="model.pretrained_model_name_or_path",
        revision_key="model.revision",
    )
    return {s.rfilename: s.size or 0 for s in info.siblings or []}


def to_download(model: ModelReference) -> int:
    """Bytes that aren't here yet."""
    if model.commit is None:
        return 0
    return sum(
        size
        for path, size in sizes(model).items()
        if not isinstance(try_to_load_from_cache(model.name, path, revision=model.commit), str)
    )
