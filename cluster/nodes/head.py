"""Finds the head of a running cluster and checks, before Ray is joined, whether it accepts us.

`ray.init` retries for 20 seconds and then reports only "Failed to connect", whatever the reason, also for a wrong
token. So the head is queried first, with one gRPC call.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from cluster.capacity import ClusterError
from cluster.nodes.listeners import account_name, addresses_of, own_addresses, refuse_strangers, trusted_accounts
from cluster.nodes.token_file import ray_folder
from cluster.ray_compat.head_service import Machine, machines_of, own_token, temporary_folder

AUTH_MODE = "RAY_AUTH_MODE"
ADDRESS_FILE = "ray_current_cluster"  # in Ray's folder: the head that was started last
GCS_FLAG = "--gcs-address"  # of a raylet's command


class Head(NamedTuple):
    """A head that accepted us."""

    address: str  # host:port
    auth_mode: str  # disabled or token, for RAY_AUTH_MODE
    hosts: frozenset[str]  # names of the machines alive


def find_head(address: str, *, allow_unauthenticated: bool = False, run_by: str | None = None) -> Head:
    """Finds the head at `address` ('auto' or host:port) and checks that it accepts us.

    'auto' is RAY_ADDRESS, else the last cluster that `tunefleet cluster start` or `ray start` made here, else the only
    head that runs here; made and run by this account, by root or by `run_by`. RAY_AUTH_MODE is kept if the user has set
    it; else the head decides: disabled if it answers without a token.

    Args:
        address: 'auto' or host:port.
        allow_unauthenticated: join a cluster of other machines that requires no token. One that is this machine alone
            is joined in any case, with a warning.
        run_by: a further account whose head is joined on this machine.

    Raises:
        ClusterError: no head is found or answers, it refuses the token, it requires none, or it is another account's.
    """
    address = _local_head(run_by) if address == "auto" else address
    refuse_foreign_head("cluster.address", address, run_by)
    chosen = os.environ.get(AUTH_MODE, "").lower()
    machines = machines_of(address, token=None)
    if machines is not None:
        check_open_head(address, machines, allowed=allow_unauthenticated)
        return Head(address, chosen or "disabled", frozenset(machine.name for machine in machines))
    if chosen not in ("", "token"):
        raise ClusterError(
            f"cluster.address: {address} wants a token, but {AUTH_MODE}={chosen}. Unset it or set it to token."
        )
    token = own_token()
    machines = None if token is None else machines_of(address, token)
    if machines is None:
        why = "there is none" if token is None else "the head refused the one found"
        raise ClusterError(
            f"cluster.address: {address} wants a token and {why}. Put the cluster's own into RAY_AUTH_TOKEN, into the "
            "file that RAY_AUTH_TOKEN_PATH names, or into ~/.ray/auth_token (mode 0600)."
        )
    return Head(address, "token", frozenset(machine.name for machine in machines))


def check_open_head(address: str, machines: Collection[Machine], *, allowed: bool) -> None:
    """Warns about a Ray that requires no token, or refuses it: it runs code for anybody who reaches its ports.

    Raises:
        ClusterError: it has other machines, and is not `allowed`.
    """
    here = own_addresses()
    elsewhere = sorted(
        f"{machine.name} ({machine.address})"
        for machine in machines
        if machine.name != socket.gethostname() or machine.address not in here
    )
    if not elsewhere and not addresses_of(address.rpartition(":")[0]) & here:
        elsewhere = [address]
    if elsewhere and not allowed:
        raise ClusterError(
            f"cluster.address: {address} asks for no token, so whoever reaches its ports runs code on "
            f"{', '.join(elsewhere)}. Start it with `tunefleet cluster start --head`, or, where the network is closed "
            "to everybody else, insist with cluster.allow_unauthenticated=true."
        )
    print(
        f"tunefleet: the Ray at {address} asks for no token and listens on all interfaces: whoever reaches its ports "
        "runs code there; `tunefleet cluster start --head` starts one that asks",
        file=sys.stderr,
    )


def refuse_foreign_head(source: str, address: str, run_by: str | None = None) -> None:
    """Refuses another account's head on this machine: it would receive the token, and its answers are unpickled here.

    Args:
        source: of the address, such as an option, for the message.
        address: host:port.
        run_by: a further account that may run it.

    Raises:
        ClusterError: it belongs to neither this account, root nor `run_by`.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        step = "say so with cluster.run_by=NAME"
        refuse_strangers(source, host.strip("[]"), int(port), run_by=run_by, step=step)


def _local_head(run_by: str | None) -> str:
    if (named := os.environ.get("RAY_ADDRESS", "auto")) not in ("", "auto"):
        return named
    trusted = trusted_accounts(run_by)
    for folder in (ray_folder(make=False), temporary_folder()):
        if (written := _written_address(folder / ADDRESS_FILE, trusted)) is not None:
            return written
    running = sorted(_running_heads(trusted))
    if len(running) != 1:
        found = f"{len(running)} heads run here ({', '.join(running)})" if running else "no Ray head runs here"
        raise ClusterError(
            f"cluster.address: auto, but {found}. Name one (cluster.address=host:port), start one "
            "(`tunefleet cluster start --head`), or leave the address out for a local Ray."
        )
    return running[0]


def _written_address(file: Path, trusted: Collection[int]) -> str | None:
    """Returns the address that Ray has recorded in `file`, or None. Any account can write into Ray's own folder.

    Raises:
        ClusterError: the file or its folder belongs to none of the `trusted` user ids, or it is a link.
    """
    if not os.path.lexists(file):
        return None
    for path in (file.parent, file):
        status = path.lstat()
        if status.st_uid not in trusted or not (path == file.parent or stat.S_ISREG(status.st_mode)):
            whose = "is no plain file" if status.st_uid in trusted else f"is of {account_name(status.st_uid)}"
            raise ClusterError(
                f"cluster.address: auto, but {path} {whose}: whoever wrote it would get the cluster's token and could "
                "run code here. Name the head (cluster.address=host:port), or, if that account runs your Ray, say so "
                "with cluster.run_by=NAME."
            )
    return file.read_text().strip() or None


def _running_heads(trusted: Collection[int]) -> frozenset[str]:
    """Returns the heads of raylets of `trusted` accounts. Ray's own search trusts any process of that name."""
    import psutil

    found = set()
    for process in psutil.process_iter(["cmdline", "uids"]):
        words = process.info["cmdline"] or ()
        uids = process.info["uids"]
        if words and "raylet" in os.path.basename(words[0]) and uids is not None and uids.real in trusted:
            flags = (word.partition("=") for argument in words for word in argument.split())
            found |= {value for name, _, value in flags if name == GCS_FLAG and value not in ("", "None")}
    return frozenset(found)
