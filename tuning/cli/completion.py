"""`tunefleet completion`: the script with which a shell completes commands, options, presets and experiments."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from tuning.cli.command import NAME, Command
from tuning.cli.exit_status import SUCCESS

VARIABLE = "_TUNEFLEET_COMPLETE"  # by which the script of a shell requests completions


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")), help="the shell that reads the script")
def completion_command(shell: str) -> int:
    """Print a script that completes commands, options, presets and experiments in a shell.

    \b
    bash, in ~/.bashrc:  eval "$(tunefleet completion bash)"
    zsh, in ~/.zshrc:    eval "$(tunefleet completion zsh)"
    fish:                tunefleet completion fish > ~/.config/fish/completions/tunefleet.fish
    """
    root = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    assert kind is not None, "Click has one for each of the choices"
    print(kind(root, {}, NAME, VARIABLE).source())
    return SUCCESS
