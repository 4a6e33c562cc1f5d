"""Sanaflow's commands beside the pipelines.

A command is an entry point of the group `sanaflow.commands`: what knows ZenML is not in this library, which doesn't.
"""

from importlib.metadata import entry_points

import click


class Commands(click.Group):
    """Loads a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return sorted(point.name for point in entry_points(group="sanaflow.commands"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None."""
        return next((point.load() for point in entry_points(group="sanaflow.commands", name=cmd_name)), None)


@click.command(cls=Commands, help=(__doc__ or "").partition("\n")[0])
def main() -> None:
    """Run a command."""


if __name__ == "__main__":
    main(prog_name="python -m sanaflow")
