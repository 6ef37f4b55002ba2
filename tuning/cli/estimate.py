"""`tunefleet estimate`: what an experiment will take, before it takes it."""

from __future__ import annotations

import json

import click

from trainables.errors import InputError
from tuning.cli.command import Command
from tuning.cli.exit_status import SUCCESS
from tuning.cli.output import print_message
from tuning.cli.parameters import overrides_argument, spec_argument


@click.command(cls=Command)
@spec_argument
@overrides_argument
@click.option(
    "--slots", metavar="N[,N]...", help="how many trials run at a time, a column for each (default: as the cluster has)"
)
@click.option(
    "--no-calibration", is_flag=True, help="measure nothing: use what is known of earlier runs and estimates here"
)
@click.option("--json", "as_json", is_flag=True, help="the estimate as JSON, in seconds and bytes")
def estimate_command(
    spec: str, overrides: tuple[str, ...], slots: str | None, no_calibration: bool, as_json: bool
) -> int:
    """Say what an experiment will take: trials, device-hours, wall time, memory, disk. It trains for a minute."""
    from tuning.estimate.estimate import estimate_experiment
    from tuning.estimate.text import estimate_text
    from tuning.spec.loading import load_spec, translation_lines

    numbers = [] if slots is None else _numbers(slots)
    loaded = load_spec(spec, overrides)

    def say(line: str) -> None:
        print_message(f"{loaded.name}: {line}")

    for line in translation_lines(spec, overrides):
        say(line)

    estimate = estimate_experiment(loaded, slots=numbers, calibrate=not no_calibration, say=say)
    print(json.dumps(estimate.to_json(), indent=2) if as_json else estimate_text(estimate))
    return SUCCESS


def _numbers(slots: str) -> list[int]:
    """Read '8,64'.

    Raises:
        InputError: it is something else.
    """
    words = slots.split(",")
    if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise InputError("--slots", slots, "must be numbers above 0, with commas between them", "such as --slots 8,64")
    return [int(word) for word in words]
