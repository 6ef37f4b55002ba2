"""The daemon that Ray runs on each node, asked directly: for what Ray has no public call for.

Read against ray 2.60: `NodeManagerService`; `tests/cluster/ray_compat` holds the calls and their fields.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.capacity import ClusterError
from cluster.ray_compat.head_service import ANSWER_SECONDS, open_channel, own_token


class Raylet:
    """One node's. Each call raises ClusterError where it does not answer."""

    def __init__(self, address: str, stub: Any) -> None:
        token = own_token()
        self._address, self._stub = address, stub
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)

    def free(self) -> Mapping[str, float]:
        """What nobody holds, by resource: {"CPU": 1.5, ...}; one of which nothing is free is missing."""
        from ray.core.generated import node_manager_pb2

        return dict(
            self._ask("GetResourceLoad", node_manager_pb2.GetResourceLoadRequest()).resources.resources_available
        )

    def give_up(self, group: str, bundles: Mapping[int, Mapping[str, float]]) -> None:
        """Give back what it has reserved for bundles of a placement group; what it does not hold is no error.

        Args:
            group: its id, as Ray writes it: hexadecimal.
            bundles: by their index in the group, the resources of each.
        """
        from ray.core.generated import common_pb2, node_manager_pb2

        key = bytes.fromhex(group)
        request = node_manager_pb2.RemovePlacementGroupBundlesRequest(placement_group_id=key)
        for index, resources in bundles.items():
            named = common_pb2.Bundle.BundleIdentifier(placement_group_id=key, bundle_index=index)
            request.bundle_specs.append(common_pb2.Bundle(bundle_id=named, unit_resources=resources))
        self._ask("RemovePlacementGroupBundles", request)

    def prestart(self, count: int, environment: Mapping[str, Any], keep_seconds: int) -> None:
        """Have `count` workers started for this driver's actors that have the runtime environment; returns at once.

        Args:
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
        """It ends as by a SIGTERM, its workers before it; returns when it has begun to."""
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
    """Of one entry of `ray.nodes()`."""
    from ray.core.generated import node_manager_pb2_grpc

    address = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
    with open_channel(address) as channel:
        yield Raylet(address, node_manager_pb2_grpc.NodeManagerServiceStub(channel))
