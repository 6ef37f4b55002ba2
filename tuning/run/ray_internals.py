"""The private parts of Ray Tune that the population and the controller need; everything else here uses public ones.

Read against ray 2.60. `tests/test_pbt.py` and `tests/test_nodes.py` drive every function here in real runs, and fail
when Ray moves them.
A `runner` is what Tune hands to a scheduler: a wrapper that allows `pause_trial` and little more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter

from cluster.fork_server import Imports
from cluster.head import open_channel
from trainables import warm

if TYPE_CHECKING:
    from ray.exceptions import RayActorError
    from ray.tune.execution.tune_controller import TuneController

HEALTH = "/grpc.health.v1.Health/Check"  # of a raylet; answered without a token
HEALTH_SECONDS = 1.0


def in_slot(runner: Any, trial: Trial) -> bool:
    """Whether `trial` has a process of its own: running, or about to (starting, resetting, restoring).

    Tune calls a trial PENDING both while it waits for a free GPU and while its process imports torch. Only the actor
    tables tell the two apart, and only the first is a reason to take another trial's slot away.
    """
    return _has_slot(runner._tune_controller, trial)


def starts_alone(controller: TuneController, trial: Trial) -> bool:
    """Whether `trial` has a slot whose process has not said yet that it is up, on the only node that there is."""
    import ray

    if not _has_slot(controller, trial) or controller._trial_to_actor[trial] in controller._started_actors:
        return False
    return len([node for node in ray.nodes() if node["Alive"]]) == 1


def _has_slot(controller: TuneController, trial: Trial) -> bool:
    actor = controller._trial_to_actor.get(trial)
    return actor is not None and bool(controller._actor_manager.is_actor_started(actor))


def go_on(runner: Any, trial: Trial) -> None:
    """Let a trial that was held by the decision NOOP train on in its process, as it is.

    Tune has no decision for that: the public way is to pause and restore, which builds the model anew.
    """
    runner._tune_controller._schedule_trial_train(trial)


def process_alive(trial: Trial) -> bool:
    """Whether the process of a running trial still exists. A quarter of a millisecond.

    Tune learns that a process has died (its node is gone, memory ran out) only when it next asks something of it. A
    held trial is asked nothing, and its dead process would be handed to another trial, which would then fail for it.
    """
    from ray._private import state

    actor = trial.temporary_state.ray_actor
    return bool(state.actors(actor._actor_id.hex())["State"] != "DEAD")


def continue_from(runner: Any, trial: Trial, donor: Trial) -> None:
    """When `trial` starts next, it is restored from the donor's newest checkpoint instead of its own.

    Ray's own PBT writes the same attribute. `register_checkpoint`, the public way, would list the donor's folder among
    the trial's own. The copy keeps the donor's metrics from being edited through the trial. The caches are dropped and
    Tune is told of the change, or its next snapshot would still say the old thing, beside a lineage with the exploit.
    """
    from ray.train._internal.session import _TrainingResult

    result = donor.latest_checkpoint_result
    copied = _TrainingResult(checkpoint=result.checkpoint, metrics=dict(result.metrics))
    trial.run_metadata.checkpoint_manager._latest_checkpoint_result = copied
    trial.run_metadata.invalidate_cache()
    trial.invalidate_json_state()
    runner._tune_controller._mark_trial_to_checkpoint(trial)


def forget_statistics(trial: Trial) -> None:
    """Drop Tune's running statistics of every metric of `trial`: 10 kB of the 19 that a trial has in each snapshot.

    They are for Ray's `ExperimentAnalysis`; the study store has all reports.
    """
    trial.run_metadata.metric_analysis = {}
    trial.run_metadata.metric_n_steps = {}


@contextlib.contextmanager
def next_trial_called(name: str) -> Iterator[None]:
    """In the block Tune's searches give a new trial this id. They draw one themselves, and tell it to the searcher
    before anybody else hears of the trial; there is no option for it.
    """
    drawn = Trial.__dict__["generate_id"]
    Trial.generate_id = staticmethod(lambda: name)
    try:
        yield
    finally:
        Trial.generate_id = drawn


def snapshots_of(controller: TuneController) -> Any:
    """What takes Tune's snapshots: `_checkpoint_period`, seconds between two, and `_last_save_time`, monotonic."""
    return controller._checkpoint_manager


def slot_environment() -> dict[str, Any]:
    """The runtime environment in which Tune's trial actors run: a worker that waits for one must have the same."""
    from ray.tune import Trainable
    from ray.tune.execution.class_cache import _ActorClassCache

    return dict(_ActorClassCache().get(Trainable)._default_options["runtime_env"])


def slot_imports() -> Imports:
    """What those processes have imported before they have a trial."""
    return Imports(warm.EARLY, warm.__name__)


def fate_of(error: RayActorError) -> tuple[str, bool | None]:
    """The address of the node whose process `error` is about, and whether that node is lost; None: not known yet.

    When all of a node is killed at once, the broken connection is told first, and for seconds Ray takes the node for
    alive. A process that has died by itself leaves a node behind that has told so, and that answers. Neither alone will
    do: an actor is DEAD also when Tune has let go of it, and another node may answer at the address of a lost one, such
    as a Ray that was started again there.
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
    if _told_dead(str(error.actor_id)) and _answers(address, int(node["NodeManagerPort"])):
        return address, False
    return address, None


def _told_dead(actor_id: str) -> bool:
    """Whether the node of an actor has said that its process has ended."""
    import ray
    from ray._private import state
    from ray.core.generated import gcs_pb2

    accessor = state.state._connect_and_get_accessor()
    actor = gcs_pb2.ActorTableData.FromString(accessor.get_actor_info(ray.ActorID.from_hex(actor_id)))
    worker = accessor.get_worker_info(ray.WorkerID(actor.address.worker_id))
    return worker is not None and not gcs_pb2.WorkerTableData.FromString(worker).is_alive


def _answers(address: str, port: int) -> bool:
    """Whether a node's raylet says that it is well.

    A connection alone proves nothing: the system makes it for a process that hangs, or a child with the same socket.
    """
    import grpc  # type: ignore[import-untyped]

    with open_channel(f"{address}:{port}") as channel:
        try:
            channel.unary_unary(HEALTH)(b"", timeout=HEALTH_SECONDS)
        except grpc.RpcError:
            return False
    return True


def kill_stopping(controller: TuneController) -> None:
    """Kill the processes that Tune waits for to end: they would first compute to the next report."""
    for actor in controller._stopping_actors:
        if controller._actor_manager.is_actor_started(actor):
            controller._actor_manager.remove_actor(actor, kill=True)


def limit_trials(controller: TuneController, limit: int) -> None:
    """Let Tune propose and start at most `limit` trials at a time from now on, where it limits them at all."""
    search = controller._search_alg
    for limiter in (search, getattr(search, "searcher", None)):
        if isinstance(limiter, ConcurrencyLimiter | BasicVariantGenerator) and limiter.max_concurrent not in (0, limit):
            limiter.max_concurrent = limit
            controller.update_max_pending_trials()
