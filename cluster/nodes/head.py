"""The head of a running cluster: where it is, whether it lets us in, which machines it has. All before Ray is joined.

`ray.init` retries for 20 seconds and then says only "Failed to connect", whatever the reason; a token that the head
does not want is as invisible to it. So the head is asked first, with one gRPC call each.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from cluster.capacity import ClusterError
from cluster.nodes.listeners import account_name, addresses_of, own_addresses, refuse_strangers, trusted_accounts
from cluster.nodes.token_file import ray_folder

AUTH_MODE = "RAY_AUTH_MODE"
ADDRESS_FILE = "ray_current_cluster"  # in Ray's folder: the head that was started last
GCS_FLAG = "--gcs-address"  # of a raylet's command
ANSWER_SECONDS = 10.0  # a head that takes longer for one small call is not going to serve an experiment


class Head(NamedTuple):
    """A head that accepted us."""

    address: str  # host:port
    auth_mode: str  # disabled or token, for RAY_AUTH_MODE
    hosts: frozenset[str]  # names of the machines alive


class Machine(NamedTuple):
    """One node, as the head names it."""

    name: str
    address: str  # its IP


def find_head(address: str, *, allow_unauthenticated: bool = False, run_by: str | None = None) -> Head:
    """The head at `address` ('auto' or host:port).

    'auto' is RAY_ADDRESS, else the last cluster that `tunefleet cluster start` or `ray start` made here, else the only
    head that runs here; made and run by this account, by root or by `run_by`.
    RAY_AUTH_MODE as the user set it is kept. Unset, the head decides: disabled if it answers without a token.

    Args:
        allow_unauthenticated: join a cluster of other machines that lets everybody in. One that is this machine
            alone is joined in any case, with a warning.
        run_by: a further account whose head is joined on this machine.

    Raises:
        ClusterError: nothing is found or answers there, it refuses the token, it lets everybody in, or it is another
            account's.
    """
    address = _local_head(run_by) if address == "auto" else address
    refuse_foreign_head("cluster.address", address, run_by)
    chosen = os.environ.get(AUTH_MODE, "").lower()
    machines = machines_of(address, token=None)
    if machines is not None:
        mind_the_open_door(address, machines, allowed=allow_unauthenticated)
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


def mind_the_open_door(address: str, machines: Collection[Machine], *, allowed: bool) -> None:
    """A Ray without a token runs code for anybody who reaches its ports, and they listen on all interfaces.

    Raises:
        ClusterError: it is not on this machine alone, and not `allowed`; else one line on standard error says so.
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
    """Refuse a head on this machine of neither this account nor root: it would get the token, and its answers are
    unpickled here.

    Args:
        source: what named it.
        address: host:port.
        run_by: a further account that may run it.

    Raises:
        ClusterError: whose it is.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        step = "say so with cluster.run_by=NAME"
        refuse_strangers(source, host.strip("[]"), int(port), run_by=run_by, step=step)


def _local_head(run_by: str | None) -> str:
    from ray._common.utils import get_default_ray_temp_dir

    if (named := os.environ.get("RAY_ADDRESS", "auto")) not in ("", "auto"):
        return named
    trusted = trusted_accounts(run_by)
    for folder in (ray_folder(make=False), Path(get_default_ray_temp_dir())):
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
    """The address that Ray has written down there; None: none is. Any account can write into Ray's own folder.

    Raises:
        ClusterError: the file, or its folder, is not of `trusted`, or it is a link.
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
    """The heads of the raylets that run here for `trusted`. Ray's own search believes any process of that name."""
    import psutil

    found = set()
    for process in psutil.process_iter(["cmdline", "uids"]):
        words = process.info["cmdline"] or ()
        uids = process.info["uids"]
        if words and "raylet" in os.path.basename(words[0]) and uids is not None and uids.real in trusted:
            flags = (word.partition("=") for argument in words for word in argument.split())
            found |= {value for name, _, value in flags if name == GCS_FLAG and value not in ("", "None")}
    return frozenset(found)


def own_token() -> str | None:
    """The token that Ray itself would send: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    loader = AuthenticationTokenLoader.instance()
    loader.reset_cache()
    if not loader.has_token(ignore_auth_mode=True):
        return None
    return str(loader.get_raw_token(ignore_auth_mode=True))


def machines_of(address: str, token: str | None) -> frozenset[Machine] | None:
    """The machines alive, or None if the head wants another token.

    Raises:
        ClusterError: no head answers at `address` (host:port).
    """
    import grpc  # type: ignore[import-untyped]
    from ray.core.generated import gcs_pb2, gcs_service_pb2, gcs_service_pb2_grpc

    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with open_channel(address) as channel:
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            reply = stub.GetAllNodeInfo(
                gcs_service_pb2.GetAllNodeInfoRequest(), metadata=metadata, timeout=ANSWER_SECONDS
            )
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return None
            raise ClusterError(
                f"cluster.address: no Ray head answers at {address} ({error.code().name.lower()}). Check host, port "
                "(6379 by default) and firewall, or start one with `tunefleet cluster start --head`."
            ) from error
    alive = (node for node in reply.node_info_list if node.state == gcs_pb2.GcsNodeInfo.ALIVE)
    return frozenset(Machine(node.node_manager_hostname, node.node_manager_address) for node in alive)


def open_channel(address: str) -> Any:
    """A plain or TLS channel, as RAY_USE_TLS says. Ray's own maker would add a token that is not ours to choose."""
    import grpc
    from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS

    # Ray's own: no proxy, which gRPC would take out of http_proxy, https_proxy or grpc_proxy, for loopback as well.
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(address, options=GLOBAL_GRPC_OPTIONS)
    from ray._common.tls_utils import load_certs_from_env

    certificates, key, authorities = load_certs_from_env()
    return grpc.secure_channel(
        address,
        grpc.ssl_channel_credentials(root_certificates=authorities, private_key=key, certificate_chain=certificates),
        options=GLOBAL_GRPC_OPTIONS,
    )
