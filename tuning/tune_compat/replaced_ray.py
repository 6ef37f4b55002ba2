"""Replaces Ray's functions by those of a stand-in, so that Tune runs without a cluster.

`tuning.testing.simulated_ray` is the stand-in, and has no other access to private parts of Ray. Read against ray 2.60;
relied on are:

- `ActorClass._remote` and `RemoteFunction._remote`: each call of `.remote()`, with options or without, ends there.
- `__ray_metadata__.modified_class` of an actor class, `_function` of a remote function: what the user has decorated.
- `_actor_id` of a handle, with `hex()`; the methods `__ray_ready__` and `__ray_terminate__` that every actor has.
- `_global_node` of the worker: `is_head()` and `get_session_dir_path()` are all that is asked of it here.
- `state.actors(ID)`: `State` and `Address.NodeID`; `internal_kv`, and `internal_kv_multi_get` of its client.
- `tune_controller`: it looks up its resource manager and its clock among its own names.
- `FixedResourceManager`: it counts in `_requested_resources` and `_used_resources`.

Whatever of this is missing in another release makes `mock.patch` raise when the block begins.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol
from unittest import mock

READY = "__ray_ready__"  # the method of every actor that answers once its process is up
TERMINATE = "__ray_terminate__"  # the method that ends the process after the calls before it


class Handle:
    """The part of an actor's handle that Ray and Tune read without a call.

    Args:
        actor_id: in hexadecimal, as Ray writes it.
    """

    def __init__(self, actor_id: str) -> None:
        self._actor_id = SimpleNamespace(hex=lambda: actor_id)


class KeyValueTable(Protocol):
    """The interface of a table that answers calls of `ray.experimental.internal_kv`."""

    def put(self, key: Any, value: Any, overwrite: bool = True, namespace: Any = None) -> bool:
        """See `internal_kv._internal_kv_put`."""

    def get(self, keys: Any, namespace: Any = None) -> dict[bytes, bytes]:
        """See `internal_kv_multi_get` of the head's client."""

    def keys(self, prefix: Any, namespace: Any = None) -> list[bytes]:
        """See `internal_kv._internal_kv_list`."""

    def delete(self, key: Any, del_by_prefix: bool = False, namespace: Any = None) -> int:
        """See `internal_kv._internal_kv_del`."""


class RayStandIn(Protocol):
    """The interface of an object that answers calls of Ray's functions instead of a cluster."""

    def wait(self, *args: Any, **options: Any) -> Any:
        """See `ray.wait`."""

    def get(self, *args: Any, **options: Any) -> Any:
        """See `ray.get`."""

    def put(self, value: Any) -> Any:
        """See `ray.put`."""

    def context(self) -> Any:
        """See `ray.get_runtime_context`."""

    def node_table(self) -> list[dict[str, Any]]:
        """See `ray.nodes`."""

    def cluster_resources(self) -> dict[str, float]:
        """See `ray.cluster_resources`."""

    def available_resources(self) -> dict[str, float]:
        """See `ray.available_resources`."""

    @property
    def table(self) -> KeyValueTable:
        """The head's table of keys and values."""

    def create(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]) -> Handle:
        """Starts an actor of the class `cls`, and returns its handle."""

    def call(self, function: Callable[..., Any], args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
        """Starts a task, and returns a reference to its result."""

    def kill_actor(self, actor_id: str) -> None:
        """Ends the process of an actor at once."""

    def state_of(self, actor_id: str) -> dict[str, Any]:
        """Returns the entry of `ray._private.state.actors` for one actor."""

    def has_room(self, resources: Mapping[str, float]) -> bool:
        """True if a node has these resources free, as {"CPU": 1.0}."""

    def answers(self, address: str, port: int) -> bool:
        """True if the raylet at that address would answer."""

    def monotonic(self) -> float:
        """See `time.monotonic`."""

    def time(self) -> float:
        """See `time.time`."""

    def sleep(self, seconds: float) -> None:
        """See `time.sleep`."""


@contextlib.contextmanager
def replaced_ray(stand_in: RayStandIn, session: Path) -> Iterator[None]:
    """Makes this process use `stand_in` for Ray in the block.

    Args:
        stand_in: what the functions do instead.
        session: the folder of the Ray session that this process seems to have started.

    Raises:
        AttributeError: this release of Ray has no such name to replace.
    """
    with contextlib.ExitStack() as stack:
        for target, value in (_public_names(stand_in) | _private_names(stand_in, session)).items():
            stack.enter_context(mock.patch(target, value))
        yield


def _public_names(stand_in: RayStandIn) -> dict[str, Any]:
    return {
        "ray.is_initialized": lambda: True,
        "ray.wait": stand_in.wait,
        "ray.get": stand_in.get,
        "ray.put": stand_in.put,
        "ray.kill": lambda handle, **_: stand_in.kill_actor(handle._actor_id.hex()),
        "ray.nodes": stand_in.node_table,
        "ray.cluster_resources": stand_in.cluster_resources,
        "ray.available_resources": stand_in.available_resources,
        "ray.util.placement_group.placement_group_table": dict,  # there are none
        "ray.get_runtime_context": stand_in.context,
        "ray.util.get_node_ip_address": lambda: "127.0.0.1",
    }


def _private_names(stand_in: RayStandIn, session: Path) -> dict[str, Any]:
    """Returns the replacements by the name under which each is looked up."""

    def create(cls: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Handle:
        return stand_in.create(cls.__ray_metadata__.modified_class, tuple(args or ()), dict(kwargs or {}), options)

    def call(function: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return stand_in.call(function._function, args or (), kwargs or {}, options)

    def reported_dead(actor_id: str) -> bool:
        return bool(stand_in.state_of(actor_id)["State"] == "DEAD")

    return {
        "ray._private.worker._global_node": SimpleNamespace(
            is_head=lambda: True, get_session_dir_path=lambda: str(session)
        ),
        "ray._private.state.actors": stand_in.state_of,
        "ray.actor.ActorClass._remote": create,
        "ray.remote_function.RemoteFunction._remote": call,
        "ray.experimental.internal_kv._internal_kv_put": stand_in.table.put,
        "ray.experimental.internal_kv.internal_kv_get_gcs_client": lambda: SimpleNamespace(
            internal_kv_multi_get=stand_in.table.get
        ),
        "ray.experimental.internal_kv._internal_kv_list": stand_in.table.keys,
        "ray.experimental.internal_kv._internal_kv_del": stand_in.table.delete,
        "ray.tune.execution.tune_controller.PlacementGroupResourceManager": lambda: _resource_manager(stand_in),
        "ray.tune.execution.tune_controller.time": stand_in,  # how long it waits for processes to end
        "ray.tune.trainable.trainable.time": SimpleNamespace(time=stand_in.time, mktime=time.mktime),  # of a report
        # What Ray would be asked for over the network.
        "tuning.tune_compat.processes._reported_dead": reported_dead,
        "tuning.tune_compat.processes._answers": stand_in.answers,
    }


def _resource_manager(stand_in: RayStandIn) -> Any:
    """Returns Tune's manager of resources, without placement groups: an actor gets its node when it is created."""
    from ray.air.execution.resources.fixed import FixedResourceManager
    from ray.air.execution.resources.request import ResourceRequest

    class Slots(FixedResourceManager):  # type: ignore[misc]
        def __init__(self) -> None:
            self._allow_strict_pack = True
            self._requested_resources: list[ResourceRequest] = []
            self._used_resources: list[ResourceRequest] = []

        def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
            requested = resource_request in self._requested_resources
            return requested and stand_in.has_room(resource_request.required_resources)

        def acquire_resources(self, resource_request: ResourceRequest) -> Any:
            acquired = super().acquire_resources(resource_request)
            if acquired is not None:
                self._requested_resources.remove(resource_request)
            return acquired

    return Slots()
