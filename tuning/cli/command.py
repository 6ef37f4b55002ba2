"""The kinds of Click command that `tunefleet` is made of, and the message for a line that they cannot parse.

Every command has `-h` and `--debug`, accepts an option by the beginning of its name, and returns an exit status.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import click
from click.core import augment_usage_errors

from trainables.errors import nearest
from tuning.cli.exit_status import exit_status_of
from tuning.cli.output import print_message

NAME = "tunefleet"


class Command(click.Command):
    """One command; its function takes typed parameters and returns the exit status."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params.append(click.Option(["--debug"], is_flag=True, help="show the traceback of an error"))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        with augment_usage_errors(ctx):
            return super().parse_args(ctx, list(self._spelled_out(ctx, args)))

    def invoke(self, ctx: click.Context) -> int:
        """Run the command; an error that ends it is printed, and becomes an exit status."""
        debug = ctx.params.pop("debug")
        return exit_status_of(functools.partial(super().invoke, ctx), reraise=debug)

    def _spelled_out(self, ctx: click.Context, args: list[str]) -> Iterator[str]:
        """The words of a command line, with options in full that were typed by the beginning of their names."""
        words, known = iter(args), option_names(self, ctx)
        for word in words:
            if word == "--":
                yield word
                yield from words
                return
            name, equals, value = word.partition("=")
            meant = [option for option in known if len(name) > 2 and option.startswith(name)]
            if name.startswith("--") and name not in known and len(meant) > 1:
                raise click.UsageError(f"{name}: may be {' or '.join(meant)}; type more of it", ctx)
            yield f"{meant[0]}{equals}{value}" if name.startswith("--") and len(meant) == 1 else word


class CommandGroup(click.Group):
    """Commands under one name, listed in the order in which they were added."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See `click.Group.parse_args`."""
        with augment_usage_errors(ctx):
            return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group.list_commands`."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with the first sentence of its help, wrapped instead of cut off."""
        rows = [(name, command.get_short_help_str(limit=1000)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def option_names(command: click.Command, context: click.Context) -> list[str]:
    """The long names of a command's options, such as `--storage`."""
    names = (name for parameter in command.get_params(context) for name in parameter.opts)
    return [name for name in names if name.startswith("--")]


def print_usage_error(error: click.UsageError) -> None:
    """Print the usage of the command, and what is wrong with the command line, on standard error."""
    assert error.ctx is not None, "`parse_args` has set it"
    click.echo(error.ctx.get_usage(), err=True)
    print_message(_mistake(error, error.ctx))


def _mistake(error: click.UsageError, context: click.Context) -> str:
    """The name, the value, the rule, and what to do next."""
    command, help_step = context.command, f"`{context.command_path} --help` shows what it takes"
    match error:
        case click.NoSuchCommand() if isinstance(command, click.Group):
            return f"no command {error.command_name!r}; {nearest(error.command_name, command.commands)}"
        case click.NoSuchOption():
            return f"{error.option_name}: no such option; {nearest(error.option_name, option_names(command, context))}"
        case click.MissingParameter() if error.param is not None:
            return f"{_shown_name(error.param)}: not given; {help_step}"
        case click.BadParameter() if error.param is not None:
            return f"{_shown_name(error.param)}: {error.message.rstrip('.')}; {help_step}"
    message = error.format_message().rstrip(".")
    return f"{message[0].lower()}{message[1:]}; {help_step}"


def _shown_name(parameter: click.Parameter) -> str:
    """The name of an option or a positional argument as users type it, or see it in the help."""
    return parameter.opts[0] if isinstance(parameter, click.Option) else parameter.human_readable_name.strip("[].")
