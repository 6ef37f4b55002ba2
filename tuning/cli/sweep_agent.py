"""`tunefleet sweep-agent`: all slots serve a sweep of a W&B server, as many `wandb agent`s would."""

from __future__ import annotations

import click

from tuning.cli.command import Command
from tuning.cli.parameters import overrides_argument
from tuning.cli.run import run_read_spec


@click.command(cls=Command)
@click.argument("sweep", metavar="ENTITY/PROJECT/ID", help="of the sweep, as `wandb sweep FILE` prints it")
@overrides_argument
@click.option("--fresh", is_flag=True, help="begin anew where this sweep was served before; that experiment is removed")
def sweep_agent_command(sweep: str, overrides: tuple[str, ...], fresh: bool) -> int:
    """Serve a sweep of a W&B server with all slots: it proposes and stops, each trial is a run of the sweep.

    What is trained stands in key=value, or in a spec: base=experiment.yaml. WANDB_API_KEY holds the key. A run that the
    server stops ends at its next report. `tunefleet resume` goes on with the runs that it had.
    """
    from tuning.spec.formats.wandb_sweep import online_configuration
    from tuning.tracking.sweep_server import SweepPath, SweepServer
    from tuning.tracking.tracking import require_key

    path = SweepPath.parse(sweep)
    server = SweepServer(path, require_key(overrides))
    return run_read_spec(online_configuration(server.configuration(), path), overrides, fresh=fresh)
