"""Sanaflow's commands beside the pipelines.

A command is an entry point of the group `sanaflow.commands`: what knows ZenML is not in this library, which doesn't.
"""

import ast
import importlib.util
import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import click

EXIT_CODES = """\b
Exit codes:
  0    done, or yes: it fits, it will run, the weights are the same
  1    no, or a mistake in what was given, which one line names; or stopped by Ctrl-C
  2    the command line is wrong: no such command, option or file
  130  `configure` was stopped by Ctrl-C: nothing is written
  143  training was ended by SIGTERM, with a checkpoint written: run it again
"""


class Commands(click.Group):
    """Loads a command when it is called. For the list, a line of its module is read, and nothing is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return sorted(point.name for point in entry_points(group="sanaflow.commands"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None."""
        return next((point.load() for point in entry_points(group="sanaflow.commands", name=cmd_name)), None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called, and what is left for it; of an unknown one, the nearest is named."""
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            raise click.NoSuchCommand(args[0], possibilities=names, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with the first line of what its module says of itself."""
        with formatter.section("Commands"):
            points = sorted(entry_points(group="sanaflow.commands"), key=lambda point: point.name)
            formatter.write_dl([(point.name, summary(point)) for point in points])


def summary(point: EntryPoint) -> str:
    """The first sentence of the docstring of a command's module, which may take seconds to import and isn't."""
    room, *rest = point.module.split(".")
    spec = importlib.util.find_spec(room)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(place, *rest).with_suffix(".py")
        if file.is_file():
            says = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            return " ".join(says.partition("\n\n")[0].partition(". ")[0].split())
    return "its code is missing: install Sanaflow again"


@click.command(cls=Commands, help=(__doc__ or "").partition("\n")[0], epilog=EXIT_CODES)
def main() -> None:
    """Run a command; click leaves colours out where it doesn't write to a terminal (see https://no-color.org)."""
    if os.environ.get("NO_COLOR"):
        click.get_current_context().color = False


if __name__ == "__main__":
    main(prog_name="python -m sanaflow")
