"""Calls the daemon that Ray runs on each node, where Ray has no public call.

Read against ray 2.60: `NodeManagerService`; `tests/cluster/ray_compat` tests the calls and their fields.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.capacity import ClusterError
from cluster.ray_compat.head_service import ANSWER_SECONDS, open_channel, own_token


class Raylet:
    """The daemon of one node. Each method raises ClusterError if it does not answer."""

    def __init__(self, address: str, stub: Any) -> None:
        token = own_token()
        self._address, self._stub = address, stub
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)

    def free(self) -> Mapping[str, float]:
        """Returns the free resources, {"CPU": 1.5, ...}; one of which nothing is free is missing."""
        from ray.core.generated import node_manager_pb2

        return dict(
            self._ask("GetResourceLoad", node_manager_pb2.GetResourceLoadRequest()).resources.resources_available
        )

    def give_up(self, group: str, bundles: Mapping[int, Mapping[str, float]]) -> None:
        """Releases what the node has reserved for bundles of a placement group; it need not hold any of it.

        Args:
            group: id of the placement group, in hexadecimal.
            bundles: the resources of each bundle, by its index in the group.
        """
        from ray.core.generated import common_pb2, node_manager_pb2

        key = bytes.fromhex(group)
        request = node_manager_pb2.RemovePlacementGroupBundlesRequest(placement_group_id=key)
        for index, resources in bundles.items():
            named = common_pb2.Bundle.BundleIdentifier(placement_group_id=key, bundle_index=index)
            request.bundle_specs.append(common_pb2.Bundle(bundle_id=named, unit_resources=resources))
        self._ask("RemovePlacementGroupBundles", request)

    def prestart(self, count: int, environment: Mapping[str, Any], keep_seconds: int) -> None:
        """Starts `count` workers for this driver's actors with that runtime environment; returns at once.

        Args:
            count: number of processes.
            environment: the runtime environment.
            keep_seconds: a worker that no actor has taken by then may be stopped.
        """
        import ray
        from ray._private.utils import get_runtime_env_info
        from ray.core.generated import common_pb2, node_manager_pb2
        from ray.runtime_env import RuntimeEnv

        request = node_manager_pb2.PrestartWorkersRequest(
            language=common_pb2.Language.PYTHON,
            job_id=bytes.fromhex(ray.get_runtime_context().get_job_id()),
            num_workers=count,
            keep_alive_duration_secs=keep_seconds,
        )
        info = get_runtime_env_info(RuntimeEnv(**environment))
        request.runtime_env_info.ParseFromString(info.SerializeToString())
        self._ask("PrestartWorkers", request)

    def shut_down(self) -> None:
        """Ends the raylet as SIGTERM does, its workers first; returns when that has begun."""
        from ray.core.generated import node_manager_pb2

        self._ask("ShutdownRaylet", node_manager_pb2.ShutdownRayletRequest(graceful=True))

    def _ask(self, call: str, request: Any) -> Any:
        import grpc  # type: ignore[import-untyped]

        try:
            return getattr(self._stub, call)(request, metadata=self._metadata, timeout=ANSWER_SECONDS)
        except grpc.RpcError as error:
            raise ClusterError(
                f"The Ray at {self._address} does not answer ({error.code().name.lower()}). "
                "If that stays so, start the run again."
            ) from error


@contextlib.contextmanager
def raylet_of(node: Mapping[str, Any]) -> Iterator[Raylet]:
    """Opens the raylet of one entry of `ray.nodes()`."""
    from ray.core.generated import node_manager_pb2_grpc

    address = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
    with open_channel(address) as channel:
        yield Raylet(address, node_manager_pb2_grpc.NodeManagerServiceStub(channel))
