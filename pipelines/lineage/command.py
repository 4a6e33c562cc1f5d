"""Show which pictures, caches and runs each model comes from, and which models a picture was used in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipelines.lineage.search import pictures_of, uses_of_caption, uses_of_picture
from sanaflow.errors import InputError
from sanaflow.lineage.page import lineage_page
from sanaflow.lineage.records import Record, picture_id, released_as
from sanaflow.lineage.text import chain, versions_table
from sanaflow.paths import write_whole
from steps.lineage.reader import read_record, read_records


@click.command
@click.argument("subject", required=False)
@click.option("--caption", help="Which versions saw this text; * stands for anything.")
@click.option("--pictures", is_flag=True, help="With a version: list its pictures, too.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write all of it as one page.")
@click.option("--dashboard", help="Link runs to this ZenML server; else to the one that is logged in to.")
def lineage(
    subject: str | None,
    caption: str | None,
    pictures: bool,
    as_json: bool,
    html: Path | None,
    dashboard: str | None,
) -> None:
    """Show what each model comes from, and which models a picture was used in.

    Without a SUBJECT, all model versions.

    SUBJECT is a model version ('sana@3', 'sana@production'), a release ('owner/name@revision'), or a picture's file or
    sha256.
    """
    if dashboard and not dashboard.startswith(("http://", "https://")):
        raise InputError(f"--dashboard '{dashboard}' is no address: it begins with http:// or https://")
    if (subject is not None) + (caption is not None) + (html is not None) > 1:
        raise InputError("SUBJECT, --caption and --html are three questions: ask one")
    all_shown = subject is None and caption is None
    records = read_records(dashboard=dashboard, intervals=all_shown)
    if html:
        write_whole(html, lineage_page(records))
        print(f"{len(records):,} model versions: {html}")
    elif caption is not None:
        _show_uses(uses_of_caption(caption, records), as_json)
    elif subject is None:
        print(json.dumps([asdict(record) for record in records], indent=2) if as_json else versions_table(records))
    elif picture := picture_id(subject):
        _show_uses(uses_of_picture(picture, records), as_json)
    else:
        names = [r.name for r in released_as(subject, records)] if "/" in subject else [subject]
        found = [_version(name, dashboard) for name in names]
        _show_chains(found, records, pictures, as_json)


def _version(name: str, dashboard: str | None) -> Record:
    try:
        return read_record(name, dashboard=dashboard)
    except InputError as error:
        raise InputError(f"'{name}' is no file here, and {error.message}") from None


def _show_chains(found: Sequence[Record], records: Sequence[Record], pictures: bool, as_json: bool) -> None:
    shown: list[dict[str, Any]] = []
    for record in found:
        links = chain(record, records)
        table = pictures_of(record) if pictures and "image_table" in record.folders else None
        if as_json:
            rows = {} if table is None else {"pictures_used": table.to_dict("records")}
            shown.append(asdict(record) | {"sources": record.sources(), "chain": links, **rows})
            continue
        width = max(map(len, links))
        print("\n".join(f"{name:>{width}}  {said}" for name, said in links.items()))
        if table is not None:
            print("\n" + "\n".join(f"{p.id}  {p.dataset}  {p.role}  {p.uri}" for p in table.itertuples()))
        print()
    if as_json:
        print(json.dumps(shown, indent=2))


def _show_uses(uses: Sequence[Mapping[str, str]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(uses, indent=2))
    elif not uses:
        print("no model version saw it")
    for use in () if as_json else uses:
        print("  ".join(use[key] for key in ("version", "role", "dataset", "file", "id", "caption") if key in use))
