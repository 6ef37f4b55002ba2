"""Queries a cluster's head with one gRPC call before Ray is joined, whose own calls retry for 20 seconds.

Read against ray 2.60; `tests/cluster/ray_compat` tests what is relied on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from cluster.capacity import ClusterError

ANSWER_SECONDS = 10.0  # a head that needs longer for one small call cannot serve an experiment


class Machine(NamedTuple):
    """One node, as the head reports it."""

    name: str
    address: str  # its IP


def own_token() -> str | None:
    """Returns the token that Ray itself would send: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token; or None."""
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    loader = AuthenticationTokenLoader.instance()
    loader.reset_cache()
    if not loader.has_token(ignore_auth_mode=True):
        return None
    return str(loader.get_raw_token(ignore_auth_mode=True))


def reread_authentication() -> None:
    """Makes Ray read RAY_AUTH_MODE and the token again, which it does by itself only when it is imported."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def machines_of(address: str, token: str | None) -> frozenset[Machine] | None:
    """Returns the machines that are alive, or None if the head requires another token.

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
    """Opens a plain or TLS channel, by RAY_USE_TLS. Ray's own function would add a token that we cannot choose."""
    import grpc
    from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS

    # Ray's own options: no proxy, which gRPC would read from http_proxy, https_proxy or grpc_proxy, also for loopback.
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return grpc.insecure_channel(address, options=GLOBAL_GRPC_OPTIONS)
    from ray._common.tls_utils import load_certs_from_env

    certificates, key, authorities = load_certs_from_env()
    return grpc.secure_channel(
        address,
        grpc.ssl_channel_credentials(root_certificates=authorities, private_key=key, certificate_chain=certificates),
        options=GLOBAL_GRPC_OPTIONS,
    )


def temporary_folder() -> Path:
    """Returns Ray's default folder; RAY_TMPDIR and the system's variables are obeyed."""
    from ray._common.utils import get_default_ray_temp_dir

    return Path(get_default_ray_temp_dir())


def system_temporary_folder() -> Path:
    """Returns the folder in which Ray would make its default folder."""
    from ray._common.utils import get_default_system_temp_dir

    return Path(get_default_system_temp_dir())


def forget_written_address(folder: Path) -> None:
    """Removes the address of the head that was started last, which Ray records in its `folder`."""
    from ray._common.utils import reset_ray_address

    reset_ray_address(str(folder))
