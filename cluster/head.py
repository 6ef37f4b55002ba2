"""The head of a running cluster: where it is, whether it lets us in, which machines it has. All before Ray is joined.

`ray.init` retries for 20 seconds and then says only "Failed to connect", whatever the reason; a token that the head
does not want is as invisible to it. So the head is asked first, with one gRPC call each.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Collection
from typing import Any, NamedTuple

from cluster.capacity import ClusterError
from cluster.private import ray_folder

AUTH_MODE = "RAY_AUTH_MODE"
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


def find_head(address: str, *, allow_unauthenticated: bool = False) -> Head:
    """The head at `address` ('auto' or host:port).

    'auto' is RAY_ADDRESS, else the last cluster that `tunefleet cluster start` or `ray start` made here, else the only
    head that runs here.
    RAY_AUTH_MODE as the user set it is kept. Unset, the head decides: disabled if it answers without a token.

    Args:
        allow_unauthenticated: join a cluster of other machines that lets everybody in. One that is this machine
            alone is joined in any case, with a warning.

    Raises:
        ClusterError: nothing is found or answers there, it refuses the token, or it lets everybody in.
    """
    address = _local_head() if address == "auto" else address
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
    here = _own_addresses()
    elsewhere = sorted(
        f"{machine.name} ({machine.address})"
        for machine in machines
        if machine.name != socket.gethostname() or machine.address not in here
    )
    if not elsewhere and not _addresses_of(address) & here:
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


def _own_addresses() -> frozenset[str]:
    import psutil

    return frozenset(entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries)


def _addresses_of(address: str) -> frozenset[str]:
    """The IPs behind host:port."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return frozenset(str(found[4][0]) for found in socket.getaddrinfo(host, None))
    except socket.gaierror:  # the head answered through a resolver of gRPC's own
        return frozenset()


def _local_head() -> str:
    from ray._private.services import find_gcs_addresses
    from ray._private.utils import read_ray_address

    started = (read_ray_address(str(ray_folder(make=False))), read_ray_address())
    known = os.environ.get("RAY_ADDRESS") or next(filter(None, started), None)
    if known and known != "auto":
        return str(known)
    running = sorted(find_gcs_addresses())
    if len(running) != 1:
        found = f"{len(running)} heads run here ({', '.join(running)})" if running else "no Ray head runs here"
        raise ClusterError(
            f"cluster.address: auto, but {found}. Name one (cluster.address=host:port), start one "
            "(`tunefleet cluster start --head`), or leave the address out for a local Ray."
        )
    return str(running[0])


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

    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(address)
    from ray._common.tls_utils import load_certs_from_env

    certificates, key, authorities = load_certs_from_env()
    return grpc.secure_channel(
        address,
        grpc.ssl_channel_credentials(root_certificates=authorities, private_key=key, certificate_chain=certificates),
    )
