"""What is installed here and does it work: a report to paste where you ask for help. It holds no secret.

python -m sanaflow doctor
"""

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout

import click

from pipelines.checking.finding import Finding, counted
from pipelines.checking.redaction import why, without_user

MARKS = {"ok": "", "warning": " (!)", "error": " (BROKEN)"}


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Print the report, a section at a time; exit code 1 if something is broken."""
    found: dict[str, list[Finding]] = {}
    with redirect_stdout(sys.stderr) if as_json else nullcontext():  # ZenML's notes are no JSON
        for section, findings in _sections():
            found[section] = list(findings)
            if not as_json:
                click.echo("\n".join([f"### {section}", *map(_line, found[section]), ""]))
    broken = sum(finding.level == "error" for findings in found.values() for finding in findings)
    if as_json:
        click.echo(json.dumps({name: [f.as_dict() for f in findings] for name, findings in found.items()}, indent=2))
    else:
        click.echo(f"{counted(broken, 'part')} broken" if broken else "nothing is broken")
    raise SystemExit(1 if broken else 0)


def _sections() -> Iterator[tuple[str, Iterator[Finding]]]:
    from pipelines.diagnosis.gpus import look_at_gpus
    from pipelines.diagnosis.packages import look_at_packages
    from pipelines.diagnosis.surroundings import look_at_disks, look_at_hub
    from pipelines.diagnosis.zenml_setup import look_at_zenml

    for section, look in (
        ("Versions", look_at_packages),
        ("GPU", look_at_gpus),
        ("ZenML", look_at_zenml),
        ("Disks", look_at_disks),
        ("Network", look_at_hub),
    ):
        yield section, _whole(section, look())


def _whole(section: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """All that is found, and what ends the look, if that is what is broken."""
    try:
        yield from findings
    except Exception as error:  # such as PyTorch that can't be imported: the rest of the report says more
        yield Finding("error", section, f"can't be looked at ({without_user(why(error))})")


def _line(finding: Finding) -> str:
    return f"- {finding.where}: {finding.text}{MARKS[finding.level]}"
