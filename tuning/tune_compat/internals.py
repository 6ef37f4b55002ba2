"""The private parts of Ray Tune that the population and the controller need; everything else here uses public ones.

Read against ray 2.60; `tuning.spec.validation.versions` refuses other minor releases at a run's start. The contract
tests of `tests/tuning/tune_compat` ask each function here for what it promises, of Tune's own code and of Ray's
processes. A `runner` is what Tune hands to a scheduler: a wrapper that allows `pause_trial` and little more.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import ProgressReporter, TrialProgressCallback
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter

from cluster.ray_compat.head_service import open_channel
from trainables.progress import Beat
from tuning.tune_compat.out_of_memory import by_monitor

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

HEALTH = "/grpc.health.v1.Health/Check"  # of a raylet; answered without a token
HEALTH_SECONDS = 1.0
BEATS = b"tunefleet-heartbeats"  # namespace of Ray's table of keys and values


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
    return actor_alive(trial.temporary_state.ray_actor._actor_id.hex())


def actor_alive(actor_id: str) -> bool:
    """The same of an actor."""
    from ray._private import state

    return bool(state.actors(actor_id)["State"] != "DEAD")


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


class NoProgressLines(TrialProgressCallback):  # type: ignore[misc]
    """Takes the place of Tune's callback that prints: it tells of trials that end without a report at any verbosity."""

    def on_trial_result(self, *args: Any, **info: Any) -> None:
        """Print nothing."""

    on_trial_error = on_trial_complete = on_trial_result


class NoReporter(ProgressReporter):  # type: ignore[misc]
    """Takes the place of Tune's reporter of progress."""

    def should_report(self, *args: Any, **options: Any) -> bool:
        """Returns false: there is never anything to report."""
        return False

    def report(self, *args: Any) -> None:
        """Print nothing."""


def no_reporter() -> NoReporter | None:
    """The reporter that `tune.run` is given. In a notebook Tune's own one empties the output of the cell when a study
    begins, at any verbosity: what earlier studies have shown is gone. Elsewhere Tune has none, and warns of any."""
    from ray.tune.experimental.output import get_air_verbosity
    from ray.tune.progress_reporter import IS_NOTEBOOK

    return NoReporter() if IS_NOTEBOOK or get_air_verbosity(0) is None else None


@contextlib.contextmanager
def uncounted_callbacks() -> Iterator[None]:
    """In the block `tune.run` does not count which callbacks are Ray's own. It does so for its statistics, which are
    switched off here, and imports wandb for it: half a second."""
    from ray.air._internal import usage

    counting = usage.tag_callbacks
    usage.tag_callbacks = lambda callbacks: False
    try:
        yield
    finally:
        usage.tag_callbacks = counting


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


def hand_on_as_actor_errors(controller: TuneController) -> None:
    """Let every error that ends a process reach its trial as an error of its actor.

    Ray's manager of actors knows RayActorError and RayTaskError; at any other, such as the OutOfMemoryError with which
    the memory monitor kills, it raises, and the whole experiment ends. There is no option for that, and no hook before.
    """
    manager = controller._actor_manager
    task_failed, start_failed = manager._actor_task_failed, manager._actor_start_failed

    def handed_on(tracked: Any, error: Exception) -> Exception:
        held = manager._live_actors_to_ray_actors_resources.get(tracked)
        if held is None or isinstance(error, RayTaskError) or not isinstance(error, RayError):
            return error
        died: Exception = as_actor_error(held[0]._actor_id.hex(), error)
        return died

    def on_task(tracked_actor_task: Any, exception: Exception) -> None:
        task_failed(tracked_actor_task, handed_on(tracked_actor_task._tracked_actor, exception))

    def on_start(tracked_actor: Any, exception: Exception) -> None:
        start_failed(tracked_actor, handed_on(tracked_actor, exception))

    manager._actor_task_failed, manager._actor_start_failed = on_task, on_start


def as_actor_error(actor_id: str, error: RayError) -> RayActorError:
    """What has ended that process, as an error of its actor, whatever Ray calls it."""
    if isinstance(error, RayActorError):
        return error
    if isinstance(error, OutOfMemoryError):
        killed: RayActorError = by_monitor(actor_id, error)
        return killed
    made = RayActorError(actor_id, f"{type(error).__name__}: {error}")
    made.__cause__ = error
    return made


def node_of(error: RayActorError) -> str | None:
    """Ray's id of the node whose process `error` is about."""
    from ray._private import state

    return state.actors(error.actor_id)["Address"]["NodeID"] or None


def take_up_again(controller: TuneController, trials: list[Trial]) -> None:
    """Failed trials of a snapshot run again: count them as live ones, which may fail as often as new ones.

    A limiter forgets a trial when it fails, and would keep its result from the searcher.
    """
    search = controller._search_alg
    for trial in trials:
        trial.run_metadata.num_failures = 0
        for limiter in (search, getattr(search, "searcher", None)):
            if isinstance(limiter, ConcurrencyLimiter):
                limiter.live_trials.add(trial.trial_id)


def send_beat(actor: str, rank: int, beat: Beat) -> None:
    """In a trial's process, on any node: put down what it tells of itself. A third of a millisecond.

    A named actor would be the public way: one more process, for a line that nobody waits for.
    """
    from ray.experimental import internal_kv

    internal_kv._internal_kv_put(f"{actor}/{rank}", json.dumps(beat), overwrite=True, namespace=BEATS)


def beats_of(actors: Iterable[str]) -> dict[str, dict[int, Beat]]:
    """By actor and rank what their processes have told last; an actor that has told nothing has no ranks."""
    from ray.experimental import internal_kv

    beats: dict[str, dict[int, Beat]] = {actor: {} for actor in actors}
    for key in internal_kv._internal_kv_list(b"", namespace=BEATS) if beats else ():
        actor, _, rank = key.decode().partition("/")
        if actor in beats and (told := internal_kv._internal_kv_get(key, namespace=BEATS)) is not None:
            beats[actor][int(rank)] = Beat(*json.loads(told))
    return beats


def forget_beats(actors: Iterable[str]) -> None:
    """Nobody asks for these any more."""
    from ray.experimental import internal_kv

    for actor in actors:
        internal_kv._internal_kv_del(f"{actor}/", del_by_prefix=True, namespace=BEATS)


def actors_of(controller: TuneController) -> dict[str, Trial]:
    """The trials that have a slot, by Ray's id of its actor; also where Tune has not heard yet that it is up."""
    found = (
        (_handle_of(controller, trial), trial) for trial in controller._trial_to_actor if _has_slot(controller, trial)
    )
    return {str(handle._actor_id.hex()): trial for handle, trial in found}


def actor_of(trial: Trial) -> str | None:
    """Ray's id of the actor that computes `trial`; None: it has none now."""
    handle = trial.temporary_state.ray_actor
    return None if handle is None else str(handle._actor_id.hex())


def kill_actor(controller: TuneController, trial: Trial) -> None:
    """Kill the process of a trial of which no more is known. One that does not react ends after five seconds."""
    import ray

    ray.kill(_handle_of(controller, trial))


def _handle_of(controller: TuneController, trial: Trial) -> Any:
    return controller._actor_manager._live_actors_to_ray_actors_resources[controller._trial_to_actor[trial]][0]


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
