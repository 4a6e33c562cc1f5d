"""Which model exactly: a hub id pinned to a commit, or a folder, with the digest of every file that is used."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from huggingface_hub import HfApi, hf_hub_download, snapshot_download

from sanaflow.config import ModelSettings
from sanaflow.digests import digest_of, file_digest
from sanaflow.errors import InputError
from sanaflow.hub import ask_hub
from sanaflow.paths import expanded
from sanaflow.progress import download_bars

COMPONENTS = ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")
VARIANT = re.compile(r"\.(bf16|fp16|fp32)[.-]")  # "model.bf16-00001-of-00002.safetensors": a second copy of the weights
PIPELINE_CLASSES = ("SanaPipeline", "SanaPAGPipeline")
T = TypeVar("T")


@dataclass(frozen=True)
class ModelReference:
    """A Sana pipeline that stays the same.

    Attributes:
        name: The hub id or folder as the run's settings give it.
        commit: The hub commit; None for a folder.
        files: Digest of every file used, by its path inside the pipeline. Files under git have their blob id,
            others sha256.
    """

    name: str
    commit: str | None
    files: dict[str, str] = field(repr=False)

    def digest(self, *components: str) -> str:
        """sha256 over the named components' files, or over all; the same for a folder and its copy on the hub."""
        chosen = components or COMPONENTS
        return digest_of({p: d for p, d in self.files.items() if PurePosixPath(p).parts[0] in chosen})

    def folder(self, *components: str) -> Path:
        """A local folder with the named components (or all); downloads what is missing.

        Raises:
            InputError: The hub can't be reached or refuses.
        """
        if self.commit is None:
            return expanded(self.name).resolve()
        chosen = [
            p for p in self.files if not components or PurePosixPath(p).parts[0] in (*components, "model_index.json")
        ]
        return Path(
            _ask_hub(
                self.name,
                lambda: snapshot_download(
                    self.name, revision=self.commit, allow_patterns=chosen, tqdm_class=download_bars()
                ),
            )
        )

    def config(self, component: str) -> dict[str, Any]:
        """A component's config.json; downloads no weights.

        Raises:
            InputError: It is missing, not JSON, or the hub refuses.
        """
        path = f"{component}/config.json"
        if path not in self.files:
            raise InputError(f"model '{self.name}' lacks its file {path}: get the model again")
        if self.commit is None:
            file = self.folder() / path
        else:
            file = Path(_ask_hub(self.name, lambda: hf_hub_download(self.name, path, revision=self.commit)))
        return _read_json(self.name, file)


def resolve_model(settings: ModelSettings) -> ModelReference:
    """Find the model and pin it, downloading no weights.

    Raises:
        InputError: There is no such folder or hub repository, or it isn't a Sana pipeline.
    """
    name = settings.pretrained_model_name_or_path
    folder = expanded(name)
    if folder.is_dir():
        if settings.revision:
            raise InputError(
                f"model.revision '{settings.revision}' is for hub ids, and '{name}' is a folder: remove it"
            )
        files = [p for p in folder.rglob("*") if p.is_file() and _is_used(p.relative_to(folder).as_posix())]
        _check_is_sana(name, folder / "model_index.json", [p.relative_to(folder).as_posix() for p in files])
        return ModelReference(
            name, None, {p.relative_to(folder).as_posix(): _digest_like_hub(p) for p in sorted(files)}
        )
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(
            f"model.pretrained_model_name_or_path '{name}' is neither a folder nor a hub id like 'owner/name'"
        )
    info = _ask_hub(name, lambda: HfApi().model_info(name, revision=settings.revision, files_metadata=True))
    digests = {
        s.rfilename: s.lfs.sha256 if s.lfs else s.blob_id or "" for s in info.siblings or [] if _is_used(s.rfilename)
    }
    index = (
        Path(_ask_hub(name, lambda: hf_hub_download(name, "model_index.json", revision=info.sha)))
        if digests
        else Path()
    )
    _check_is_sana(name, index, list(digests))
    return ModelReference(name, info.sha, dict(sorted(digests.items())))


def _is_used(path: str) -> bool:
    """Whether loading the pipeline reads this file: settings and safetensors, no other weight format."""
    parts = PurePosixPath(path).parts
    if path == "model_index.json":
        return True
    kept = path.endswith((".json", ".safetensors", ".model", ".txt", ".jinja"))
    return len(parts) == 2 and parts[0] in COMPONENTS and kept and not VARIANT.search(path)


def _digest_like_hub(path: Path) -> str:
    """The digest that the hub lists for this file: sha256 for large binary files, git's blob id for the rest."""
    if path.suffix in (".safetensors", ".model") or path.stat().st_size > 10_000_000:
        return file_digest(path)
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _check_is_sana(name: str, index: Path, files: list[str]) -> None:
    if "model_index.json" not in files:
        raise InputError(
            f"model.pretrained_model_name_or_path '{name}' is not a diffusers pipeline: it has no model_index.json; "
            "name a folder or hub id that SanaPipeline.from_pretrained loads"
        )
    found = _read_json(name, index).get("_class_name")
    if found not in PIPELINE_CLASSES:
        sprint = " (distilled to draw in one to four steps, which tuning would undo)" if "Sprint" in str(found) else ""
        raise InputError(f"model '{name}' holds a {found}{sprint}, not a {PIPELINE_CLASSES[0]}: name a Sana model")
    for component in COMPONENTS:
        if not any(f.startswith(f"{component}/") for f in files):
            raise InputError(f"model '{name}' lacks its folder '{component}': get the model again")
    for component in ("text_encoder", "transformer", "vae"):
        if not any(f.startswith(f"{component}/") and f.endswith(".safetensors") for f in files):
            raise InputError(
                f"model '{name}' has no plain safetensors in '{component}' (other formats and variants such as 'bf16' "
                "aren't read): load it with SanaPipeline and variant=..., and save_pretrained it to a folder"
            )


def _read_json(name: str, file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"model '{name}': its {file.name} is not a JSON object; get the model again")
    return content


def _ask_hub(name: str, question: Callable[[], T]) -> T:
    return ask_hub(
        question,
        subject=f"model '{name}'",
        key="model.pretrained_model_name_or_path",
        revision_key="model.revision",
        missing="is neither a folder here nor a repository that the hub shows you",
    )
