"""Will this run work? Says so in seconds, before hours are spent.

python -m sanaflow check configs/finetune.yaml --memory 24
"""

import json
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import click

from pipelines.checking.finding import Finding, counted


@click.command(help=__doc__)
@click.argument("run_yaml", metavar="RUN.yaml", type=click.Path(path_type=Path))
@click.option("--memory", type=click.FloatRange(min=0, min_open=True), help="GiB of the card that will train.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def check(run_yaml: Path, memory: float | None, as_json: bool) -> None:
    """Print what was found, a line each; exit code 1 if there is an error."""
    findings: list[Finding] = []
    with redirect_stdout(sys.stderr) if as_json else nullcontext():  # ZenML's notes are no JSON
        from pipelines.checking.everything import look_at_everything

        for finding in look_at_everything(run_yaml, memory_gib=memory):
            findings.append(finding)
            if not as_json:
                click.echo(finding.line())
    errors, warnings = (sum(f.level == level for f in findings) for level in ("error", "warning"))
    if as_json:
        click.echo(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        click.echo(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}")
    raise SystemExit(1 if errors else 0)
