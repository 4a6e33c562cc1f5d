"""Data sets that lie elsewhere: only lists are fetched."""

import tempfile
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.hf_api import DatasetInfo

from pipelines.checking.finding import Finding, Level, Look, counted, in_bytes
from sanaflow.datasets import DatasetSettings
from sanaflow.errors import InputError
from sanaflow.hub import ask_hub
from sanaflow.images.sources.hub import open_hub
from sanaflow.images.sources.listing import FetchError, Source
from sanaflow.images.sources.s3 import open_s3
from sanaflow.images.sources.urls import open_csv

TRIED = 3
"""So many urls of a table are fetched to see whether they can be."""


def look_at_far_set(dataset: DatasetSettings, *, hub_answers: bool) -> Look[None]:
    """What a repository, a bucket or a table lists."""
    where = f"datasets.{dataset.id}"
    if dataset.type == "huggingface":
        if hub_answers:
            yield from _look_at_repository(dataset, where)
        else:
            yield Finding("warning", where, f"the hub wasn't asked for '{dataset.dataset_name}'")
        return
    source = open_s3(dataset) if dataset.type == "aws" else open_csv(dataset)
    yield from _look_at_list(dataset, source, where)
    if dataset.type == "csv":
        yield from _look_at_urls(source, where)


def _look_at_list(dataset: DatasetSettings, source: Source, where: str) -> Look[None]:
    pictures = [entry for entry in source.entries if entry.is_picture and not entry.problem]
    if not pictures:
        raise InputError(f"{dataset.key} lists no picture, and {len(source.entries):,} other files: put some in it")
    yield Finding("ok", where, f"lists {counted(len(pictures), 'picture')}")
    if problems := [entry for entry in source.entries if entry.problem]:
        of, first = f"{len(problems):,} of {len(source.entries):,} entries", problems[0]
        yield Finding("warning", where, f"{of} can't be used, for example {first.name}: {first.problem}")
    names = {entry.name for entry in source.entries}
    without = []
    if dataset.caption_strategy == "textfile":
        without = [e.name for e in pictures if str(PurePosixPath(e.name).with_suffix(".txt")) not in names]
    elif dataset.caption_strategy in ("csv", "huggingface"):
        without = [e.name for e in pictures if not e.captions]
    if len(without) == len(pictures):
        raise InputError(f"{dataset.key}: no picture has a caption (caption_strategy: {dataset.caption_strategy})")
    if without:
        some = ", ".join(without[:3])
        yield Finding("warning", where, f"{len(without):,} of {len(pictures):,} pictures have no caption: {some}")


def _look_at_urls(source: Source, where: str) -> Look[None]:
    """Fetch a few, each into a folder that goes."""
    far = [entry for entry in source.entries if entry.path is None and not entry.problem][:TRIED]
    assert source.fetch is not None
    reasons = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, entry in enumerate(far):
            try:
                source.fetch(entry, Path(scratch, str(number)))
            except FetchError as error:
                reasons.append(f"{entry.name}: {error}")
    if reasons:
        level: Level = "error" if len(reasons) == len(far) else "warning"
        tried = f"of {len(far)} urls that were tried {len(reasons)} can't be had"
        yield Finding(level, where, f"{tried}, for example {reasons[0]}; correct the table, or see to the network")


def _look_at_repository(dataset: DatasetSettings, where: str) -> Look[None]:
    name = str(dataset.dataset_name)

    def look() -> DatasetInfo:
        info = HfApi().dataset_info(name, revision=dataset.revision, files_metadata=True)
        if info.siblings:  # the list of a gated repository is open, its files aren't
            first = info.siblings[0].rfilename
            get_hf_file_metadata(hf_hub_url(name, first, repo_type="dataset", revision=info.sha))
        return info

    revision = f"'revision' ({dataset.revision})"
    info = ask_hub(look, subject=dataset.key, key="'dataset_name'", revision_key=revision)
    siblings = info.siblings or []
    tables = [s for s in siblings if s.rfilename.endswith(".parquet") and dataset.split in s.rfilename]
    if not tables:  # then nothing but lists is fetched
        with tempfile.TemporaryDirectory() as scratch:
            yield from _look_at_list(dataset, open_hub(dataset, Path(scratch)), where)
        return
    size = sum(s.size or 0 for s in tables)
    yield Finding(
        "ok", where, f"'{name}' at commit {info.sha}: {counted(len(tables), 'Parquet file')}, {in_bytes(size)}"
    )
