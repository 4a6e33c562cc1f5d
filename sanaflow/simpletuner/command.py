"""Make a run's YAML of a SimpleTuner configuration, and say what changes and what is left out.

python -m sanaflow import-simpletuner config/config.json -o configs/mine.yaml
"""

import json
from pathlib import Path
from typing import Any

import click

from sanaflow.errors import InputError
from sanaflow.paths import write_whole
from sanaflow.simpletuner.draft import Draft
from sanaflow.simpletuner.importing import import_config
from sanaflow.simpletuner.run_text import left_out_lines, run_text

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("config", type=FILE)
@click.option("--datasets", type=FILE, help="multidatabackend.json; by default the one that the configuration names.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The run's YAML.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def import_simpletuner(config: Path, datasets: Path | None, output: Path, force: bool, as_json: bool) -> None:
    """Read the configuration, write the YAML, print a summary."""
    if output.exists() and not force:
        raise InputError(f"{output}: is there already: name another file, or say --force to write over it")
    draft, entries = import_config(config, datasets)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: can't be written ({error.strerror}): name another file") from None
    write_whole(output, run_text(draft, config=config, datasets=entries, output=output))
    if as_json:
        print(json.dumps(report(draft, output), indent=2, ensure_ascii=False))
        return
    told = report(draft, output)
    print(
        f"{output}: {len(told['taken_over'])} keys taken over, {len(told['changed'])} with a comment on what changes, "
        f"{len(told['defaults'])} defaults of SimpleTuner's written, {len(draft.left_out)} keys left out"
    )
    print("\n".join([*left_out_lines(draft.left_out), f"next: python -m sanaflow check {output}"]))


def report(draft: Draft, output: Path) -> dict[str, Any]:
    """What was done, as plain data: our keys by option, those that changed, defaults, what is left out."""
    lines = dict(draft.lines)
    for place, entry in enumerate(draft.datasets):
        lines |= {f"datasets.{place}.{key}": line for key, line in entry.items()}
    taken_over: dict[str, list[str]] = {}
    for key, line in lines.items():
        if line.option:
            taken_over.setdefault(line.option, []).append(key)
    said = {key: {"option": line.option, "value": line.value, "why": line.why} for key, line in lines.items()}
    return {
        "output": str(output),
        "taken_over": taken_over,
        "changed": {key: said[key] for key, line in lines.items() if line.option and line.why},
        "defaults": {key: said[key] for key, line in lines.items() if not line.option},
        "left_out": {name: {"kind": reason.kind, "why": reason.why} for name, reason in draft.left_out.items()},
    }
