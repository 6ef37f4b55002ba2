"""Asks Ray about an actor's process: whether it lives, on which node it was, and whether that node is lost.

Read against ray 2.60.
"""

from __future__ import annotations

from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from cluster.ray_compat.head_service import open_channel
from tuning.tune_compat.out_of_memory import oom_from_monitor

HEALTH = "/grpc.health.v1.Health/Check"  # of a raylet; answered without a token
HEALTH_SECONDS = 1.0


def actor_alive(actor_id: str) -> bool:
    """True if Ray does not take the actor for dead. Takes a quarter of a millisecond."""
    from ray._private import state

    return bool(state.actors(actor_id)["State"] != "DEAD")


def node_of(error: RayActorError) -> str | None:
    """Ray's id of the node on which the actor of `error` ran; None if it never had one."""
    from ray._private import state

    return state.actors(error.actor_id)["Address"]["NodeID"] or None


def node_loss(error: RayActorError) -> tuple[str, bool | None]:
    """Finds out whether an actor has died with its node.

    When all of a node is killed at once, the broken connection is reported first, and for seconds Ray takes the node
    for alive. A process that has died by itself leaves a node behind that has reported the death and that answers.
    Neither alone is enough: an actor is DEAD also when Tune has let go of it, and another node may answer at the
    address of a lost one, such as a Ray that was started again there.

    Args:
        error: with which Ray has reported the actor's end.

    Returns:
        The node's address, and True if it is lost, False if it lives, None if that is not known yet.
    """
    import ray
    from ray._private import state

    actor = state.actors(error.actor_id)
    place = actor["Address"]["NodeID"]
    node = next((node for node in ray.nodes() if node["NodeID"] == place), None)
    if node is None:  # it never had one: no node that it could have lost
        return "unknown", False
    address = str(node["NodeManagerAddress"])
    if not node["Alive"]:
        return address, True
    if _reported_dead(str(error.actor_id)) and _answers(address, int(node["NodeManagerPort"])):
        return address, False
    return address, None


def _reported_dead(actor_id: str) -> bool:
    """True if the node of an actor has reported that its process has ended."""
    import ray
    from ray._private import state
    from ray.core.generated import gcs_pb2

    accessor = state.state._connect_and_get_accessor()
    actor = gcs_pb2.ActorTableData.FromString(accessor.get_actor_info(ray.ActorID.from_hex(actor_id)))
    worker = accessor.get_worker_info(ray.WorkerID(actor.address.worker_id))
    return worker is not None and not gcs_pb2.WorkerTableData.FromString(worker).is_alive


def _answers(address: str, port: int) -> bool:
    """True if a node's raylet answers that it is well.

    A connection alone proves nothing: the system makes it for a process that hangs, or a child with the same socket.
    """
    import grpc  # type: ignore[import-untyped]

    with open_channel(f"{address}:{port}") as channel:
        try:
            channel.unary_unary(HEALTH)(b"", timeout=HEALTH_SECONDS)
        except grpc.RpcError:
            return False
    return True


def as_actor_error(actor_id: str, error: RayError) -> RayActorError:
    """Turns whatever has ended an actor's process into an error of that actor; one that is such stays as it is."""
    if isinstance(error, RayActorError):
        return error
    if isinstance(error, OutOfMemoryError):
        killed: RayActorError = oom_from_monitor(actor_id, error)
        return killed
    made = RayActorError(actor_id, f"{type(error).__name__}: {error}")
    made.__cause__ = error
    return made
