"""The daemon that Ray runs on each node, asked directly: for what no driver can ask of Ray.

Read against ray 2.60: `NodeManagerService`, of which `warmup` and `leaks` need one or two calls each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.capacity import ClusterError
from cluster.head import ANSWER_SECONDS, open_channel, own_token


class Raylet:
    """One node's."""

    def __init__(self, address: str, stub: Any) -> None:
        token = own_token()
        self.address, self._stub = address, stub
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)

    def ask(self, call: str, request: Any) -> Any:
        """Its answer.

        Raises:
            ClusterError: it does not answer.
        """
        import grpc  # type: ignore[import-untyped]

        try:
            return getattr(self._stub, call)(request, metadata=self._metadata, timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            raise ClusterError(
                f"The Ray at {self.address} does not answer ({error.code().name.lower()}). "
                "If that stays so, start the run again."
            ) from error


@contextlib.contextmanager
def raylet_of(node: Mapping[str, Any]) -> Iterator[Raylet]:
    """Of one entry of `ray.nodes()`."""
    from ray.core.generated import node_manager_pb2_grpc

    address = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
    with open_channel(address) as channel:
        yield Raylet(address, node_manager_pb2_grpc.NodeManagerServiceStub(channel))
