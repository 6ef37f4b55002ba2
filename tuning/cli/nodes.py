"""`tunefleet cluster start` and `stop`: one node of a cluster that lets nobody in without its token."""

from __future__ import annotations

import argparse
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cluster.nodes.start import StartedNode

SUCCESS, FAILED = 0, 1


def add_nodes(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `cluster start` and `cluster stop`."""
    summary = "start or stop Ray on this machine, closed to strangers"
    sub = commands.add_parser("cluster", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    actions = sub.add_subparsers(title="actions", required=True, metavar="ACTION")

    def add(name: str, command: Any, summary: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        action.add_argument("--debug", action="store_true", help="show the traceback of an error")
        action.set_defaults(command=command)
        return action

    start = add("start", _start, "start Ray on this machine, closed to everybody without the cluster's token")
    role = start.add_mutually_exclusive_group(required=True)
    role.add_argument("--head", action="store_true", help="as the head of a new cluster")
    role.add_argument("--address", metavar="HOST:PORT", help="as a worker of the head there")
    start.add_argument(
        "--no-fork-server",
        action="store_true",
        help="keep no process ready (about 530 MB) from which the processes of trials are forked: each then imports "
        "torch and transformers by itself, seconds of a core",
    )
    start.add_argument(
        "options",
        metavar="-- OPTION",
        nargs="*",
        help="options of `ray start`: -- --num-gpus=4 --block (in the foreground: containers, Slurm, systemd)",
    )
    add("stop", _stop, "stop what `cluster start` started on this machine, and nothing else")


def _start(arguments: argparse.Namespace) -> int:
    from cluster.nodes.start import exposed_dashboard, start_node
    from tuning.study.worker_imports import slot_imports

    host = exposed_dashboard(arguments.options)
    if host is not None:
        print(
            f"tunefleet: --dashboard-host={host}: the Jobs API is plain HTTP, and every request to it carries the "
            "token in the clear; leave it on 127.0.0.1 and use `ssh -L`, or put an HTTPS proxy before it",
            file=sys.stderr,
        )
    imports = None if arguments.no_fork_server else slot_imports()
    node = start_node(None if arguments.head else arguments.address, arguments.options, imports)
    print(_head_runs(node) if arguments.head else f"A worker of {node.address} runs here.")
    print("End it with `tunefleet cluster stop`.")
    return SUCCESS


def _head_runs(node: StartedNode) -> str:
    """Where the head is and what comes next. Never the token itself: a terminal has a history."""
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


def _stop(arguments: argparse.Namespace) -> int:
    from cluster.nodes.start import stop_nodes

    stopped = stop_nodes()
    if stopped:
        print(f"{stopped} node{'s' if stopped > 1 else ''} stopped")
        return SUCCESS
    print(
        "tunefleet: no node runs here that `tunefleet cluster start` has started; `ray stop` ends every Ray of yours "
        "on this machine",
        file=sys.stderr,
    )
    return FAILED
