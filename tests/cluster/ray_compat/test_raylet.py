"""Ray's daemons and its head have the calls that are used, and answer with the fields that are read."""

from __future__ import annotations

import pytest
import ray

pytestmark = pytest.mark.unit

NODE_CALLS = {  # the fields that `cluster.ray_compat.raylet` sends, and those of the answer that it reads
    "GetResourceLoad": ((), ("resources",)),
    "RemovePlacementGroupBundles": (("placement_group_id", "bundle_specs"), ()),
    "PrestartWorkers": (
        ("language", "job_id", "num_workers", "keep_alive_duration_secs", "runtime_env_info"),
        (),
    ),
    "ShutdownRaylet": (("graceful",), ()),
}


@pytest.mark.parametrize("call", NODE_CALLS)
def test_a_node_takes_the_calls_that_are_made_of_it(call: str) -> None:
    from ray.core.generated import node_manager_pb2

    sent, read = NODE_CALLS[call]
    method = node_manager_pb2.DESCRIPTOR.services_by_name["NodeManagerService"].methods_by_name[call]
    told = f"{call} is another one in ray {ray.__version__}: read cluster.ray_compat.raylet again"
    assert {*sent} <= {*method.input_type.fields_by_name}, told
    assert {*read} <= {*method.output_type.fields_by_name}, told


def test_the_list_of_placement_groups_tells_one_that_was_never_made_with_the_nodes_that_hold_it() -> None:
    """The list has the fields that `cluster.ray_compat.leaks` reads, for a group that was removed early."""
    from ray._private.state import GlobalState
    from ray.core.generated import common_pb2, gcs_pb2

    group, node = bytes(range(18)), bytes(range(28))
    message = gcs_pb2.PlacementGroupTableData(
        placement_group_id=group, state=gcs_pb2.PlacementGroupTableData.PlacementGroupState.REMOVED
    )
    identifier = common_pb2.Bundle.BundleIdentifier(placement_group_id=group, bundle_index=0)
    message.bundles.append(common_pb2.Bundle(bundle_id=identifier, unit_resources={"CPU": 1.0}, node_id=node))
    told = GlobalState()._gen_placement_group_info(message)
    assert told["state"] == "REMOVED"
    assert not told["stats"]["end_to_end_creation_latency_ms"]
    assert told["placement_group_id"] == group.hex()
    assert told["bundles_to_node_id"] == {0: node.hex()}
    assert told["bundles"] == {0: {"CPU": 1.0}}
    message.stats.end_to_end_creation_latency_us = 2_000_000
    assert GlobalState()._gen_placement_group_info(message)["stats"]["end_to_end_creation_latency_ms"] == 2000.0
