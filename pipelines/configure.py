"""Ask a few questions, look at the pictures and the card, and write a run's YAML that fits both.

python -m sanaflow configure -o my.yaml
"""

import os
import shlex
from pathlib import Path

import click
import yaml

from sanaflow.errors import InputError
from sanaflow.paths import write_whole

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@click.command(help=__doc__)
@click.option(
    "-o", "--output", default="my.yaml", show_default=True, type=click.Path(path_type=Path), help="File to write."
)
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option(
    "--answers", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML or JSON, instead of asking."
)
def configure(output: Path, force: bool, answers: Path | None) -> None:
    """Ask, write, and say what comes next."""
    _check_can_be_written(output, force=force)
    try:
        # Only now: these take a second, and a wrong option should show at once.
        from pipelines.configuring.asking import AnswersFile, Terminal
        from pipelines.configuring.questions import QUESTIONS, ask_everything
        from pipelines.configuring.text import run_text, schedule_command
        from sanaflow.run_yaml import parse_run_settings

        if answers:
            file = AnswersFile(answers, known=QUESTIONS)
            choices = ask_everything(file)
            file.check_all_were_asked()
        else:
            click.echo("Enter takes what stands in brackets; Ctrl-C ends it, and nothing is written.")
            choices = ask_everything(Terminal())
        text = run_text(choices, output)
        parse_run_settings(yaml.safe_load(text)["parameters"], source=output)
        _check_can_be_written(output, force=force)
        write_whole(output, text)
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nended: nothing was written", err=True)
        raise SystemExit(INTERRUPTED) from None
    pipeline, run = "retrain.retrain" if choices.cron else "finetune.finetune", shlex.quote(str(output))
    steps = [
        (f"python -m sanaflow check {run} --memory {choices.memory_gib:g}", "will it work?"),
        (f"python -m sanaflow fit {run} --memory {choices.memory_gib:g}", "what a step takes"),
        (f"zenml pipeline run pipelines.prepare.prepare -c {run}", "up to the caches: look at the pictures"),
        (f"zenml pipeline run pipelines.{pipeline} -c {run}", "train, score, release"),
    ]
    if choices.cron:
        steps.append((schedule_command(choices.cron, output), "again, if something changed"))
    width = max(len(command) for command, _ in steps)
    click.echo("\n".join([f"\nwritten: {output}", "next:", *(f"  {c:<{width}}  # {why}" for c, why in steps)]))


def _check_can_be_written(output: Path, *, force: bool) -> None:
    """See that a file of this name may be made.

    Raises:
        InputError: It is there already, its folder isn't or may not be written to, or its ending isn't YAML's.
    """
    if output.suffix not in (".yaml", ".yml"):
        raise InputError(f"--output '{output}': should end in .yaml")
    if output.is_dir():
        raise InputError(f"--output '{output}': is a folder")
    if output.exists() and not force:
        raise InputError(f"--output '{output}': is there already: name another file, or add --force to replace it")
    if not output.parent.is_dir():
        raise InputError(f"--output '{output}': there is no folder '{output.parent}': make it first")
    if not os.access(output.parent, os.W_OK):
        raise InputError(f"--output '{output}': no right to write into '{output.parent}'")
