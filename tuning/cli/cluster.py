"""`tunefleet cluster start` and `stop`: one node of a cluster that lets nobody in without its token."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import click

from trainables.errors import InputError
from tuning.cli.command import CommandGroup
from tuning.cli.exit_status import FAILED, SUCCESS
from tuning.cli.output import print_message

if TYPE_CHECKING:
    from cluster.nodes.start import StartedNode


@click.group(cls=CommandGroup)
def cluster_group() -> None:
    """Start or stop Ray on this machine, closed to strangers."""


@cluster_group.command("start")
@click.option("--head", is_flag=True, help="as the head of a new cluster")
@click.option("--address", metavar="HOST:PORT", help="as a worker of the head there")
@click.option(
    "--no-fork-server",
    is_flag=True,
    help="keep no process ready (about 530 MB) from which the processes of trials are forked: each then imports "
    "torch and transformers by itself, seconds of a core",
)
@click.argument(
    "options",
    metavar="[-- OPTION...]",
    nargs=-1,
    help="options of `ray start`: -- --num-gpus=4 --block (in the foreground: containers, Slurm, systemd)",
)
def start_node_command(head: bool, address: str | None, no_fork_server: bool, options: tuple[str, ...]) -> int:
    """Start Ray on this machine, closed to everybody without the cluster's token."""
    if head and address is not None:
        raise InputError("--address", address, "excludes --head", "give one of the two")
    if not head and address is None:
        raise InputError("--head", "not given", "a node is a head or a worker", "add --head, or --address HOST:PORT")
    from cluster.nodes.start import exposed_dashboard, start_node
    from tuning.study.worker_imports import slot_imports

    host = exposed_dashboard(list(options))
    if host is not None:
        print_message(
            f"--dashboard-host={host}: the Jobs API is plain HTTP, and every request to it carries the "
            "token in the clear; leave it on 127.0.0.1 and use `ssh -L`, or put an HTTPS proxy before it"
        )
    imports = None if no_fork_server else slot_imports()
    node = start_node(address, list(options), imports)
    print(_head_runs(node) if head else f"A worker of {node.address} runs here.")
    print("End it with `tunefleet cluster stop`.")
    return SUCCESS


def _head_runs(node: StartedNode) -> str:
    """Tells where the head is and what comes next. Never the token itself: a terminal has a history."""
    from cluster.nodes.listeners import own_account

    if node.token.file is None:
        where, way = "the one of RAY_AUTH_TOKEN", "put the same token into RAY_AUTH_TOKEN or ~/.ray/auth_token (0600)"
    else:
        where = f"in {node.token.file}{', made now' if node.token.made else ''}"
        way = f"ssh WORKER mkdir -pm 700 .ray && scp -p {node.token.file} WORKER:.ray/auth_token"
    lines = [
        f"A head runs at {node.address}; its token: {where}.",
        "On each worker, unless the home folder is shared:",
        f"  {way}",
        f"  tunefleet cluster start --address {node.address}",
    ]
    if node.dashboard is not None:
        port = node.dashboard.rpartition(":")[2]
        lines += [
            "Dashboard and jobs, from a machine that has the token:",
            f"  ssh -N -L {port}:127.0.0.1:{port} {own_account()}@{socket.gethostname()}",
            f"  tunefleet submit SPEC --address http://127.0.0.1:{port}",
        ]
    return "\n".join(lines)


@cluster_group.command("stop")
def stop_nodes_command() -> int:
    """Stop what `cluster start` started on this machine, and nothing else."""
    from cluster.nodes.start import stop_nodes

    stopped = stop_nodes()
    if stopped:
        print(f"{stopped} node{'s' if stopped > 1 else ''} stopped")
        return SUCCESS
    print_message(
        "no node runs here that `tunefleet cluster start` has started; `ray stop` ends every Ray of yours "
        "on this machine"
    )
    return FAILED
