"""Ray's private parts: which ones the mends rely on, held by digests of their sources, and that nobody else uses them.

A digest that differs says: a new Ray has changed what a mend was read against. Read it again, with the module that is
named, run the tests that this module names, then put the new digest here.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
from pathlib import Path
from typing import NamedTuple

import pytest
import ray

import tuning

pytestmark = pytest.mark.unit

TUNE = "ray.tune.execution.tune_controller:TuneController"
MANAGER = "ray.air.execution._internal.actor_manager:RayActorManager"


class Mend(NamedTuple):
    """What is mended, where, and the issue at Ray's, if one is known."""

    why: str
    where: str
    issue: str  # of ray-project/ray; empty: none is known to us


SNAPSHOTS = Mend(
    "a snapshot is several files, none with a checksum; what cannot be read is a new start", "snapshots", ""
)
STATE = Mend("the scheduler's state is in no snapshot", "search.members", "#30838")
LOSSES = Mend("a lost node counts as the trial's failure, unless a cloud has given notice", "controller", "#41285")
MEMORY = Mend(
    "a kill by the memory monitor ends the whole experiment", "ray_internals.hand_on_as_actor_errors", "#29736"
)
POPULATION = Mend("an exploit restores the old values and builds every model anew", "ray_internals.continue_from", "")
NAMES = Mend(
    "a trial that a killed driver began after its last snapshot is another one after the resume", "controller", ""
)
SLOTS = Mend("a process that is being started is stopped for a free one", "controller", "")
LEAKS = Mend("a placement group that goes while it is made stays reserved on its node", "cluster.leaks", "#64693")
COUNTING = Mend("statistics that are switched off import wandb", "ray_internals.uncounted_callbacks", "")
BUDGET = Mend("a Stopper ends trials without telling callbacks", "controller", "")

READ: dict[str, tuple[str, Mend]] = {
    f"{TUNE}.__getstate__": ("97d19e4101447ea0", SNAPSHOTS),
    f"{TUNE}.save_to_dir": ("401b69db458057b2", SNAPSHOTS),
    f"{TUNE}.checkpoint": ("a14d1c33a1bb0067", SNAPSHOTS),
    f"{TUNE}.resume": ("84ba90c7ffafb9ab", SNAPSHOTS),
    "ray.tune.search.search_generator:SearchGenerator.save_to_dir": ("1a03507cba990c1b", STATE),
    "ray.tune.search.search_generator:SearchGenerator.restore_from_dir": ("d1d7eee24916d13a", STATE),
    f"{TUNE}._mark_trial_to_checkpoint": ("9cc7f7af3ab876b1", SNAPSHOTS),
    f"{TUNE}._process_trial_results": ("202ecc5b5b775fcc", SNAPSHOTS),
    f"{TUNE}._update_trial_queue": ("9734722fa745649e", NAMES),
    f"{TUNE}._requeue_restored_trials": ("08fb7047ded03b22", LOSSES),
    f"{TUNE}._requeue_trial": ("5f7464ff2254a9e9", LOSSES),
    f"{TUNE}._trial_task_failure": ("1955e9abfcdc7ef7", LOSSES),
    f"{TUNE}._process_trial_failure": ("a600dc6f091aa6e1", LOSSES),
    f"{TUNE}._schedule_trial_stop": ("8e40c1479cfea851", BUDGET),
    f"{TUNE}._schedule_trial_train": ("3a46800741830577", POPULATION),
    f"{TUNE}._maybe_reuse_cached_actor": ("f5f294427fae8781", SLOTS),
    f"{TUNE}.cleanup": ("8a3aaeb7a0a4c0f1", BUDGET),
    f"{MANAGER}._actor_task_failed": ("2d34023c8215a810", MEMORY),
    f"{MANAGER}._actor_start_failed": ("e149645b1116548e", MEMORY),
    f"{MANAGER}.is_actor_started": ("0c9b9df61a4d2998", SLOTS),
    f"{MANAGER}.remove_actor": ("fde04abdba133951", BUDGET),
    "ray.tune.search.concurrency_limiter:ConcurrencyLimiter": ("1a374d2a6171ccd5", SLOTS),
    "ray.tune.execution.class_cache:_ActorClassCache": ("739e43ba11fc062f", SLOTS),
    "ray.train._internal.checkpoint_manager:_CheckpointManager": ("a51837868df1864e", POPULATION),
    "ray.train._internal.session:_TrainingResult": ("db96cef157544d1c", POPULATION),
    "ray.tune.experiment.trial:Trial.handle_error": ("e54c71898b7ca8f8", LOSSES),
    "ray.tune.execution.experiment_state:_ExperimentCheckpointManager": ("eec24599ddf8e512", SNAPSHOTS),
    "ray.util.placement_group:placement_group_table": ("b880fc32538d2aae", LEAKS),
    "ray._private.state:GlobalState._gen_placement_group_info": ("8a609f9f15facdb3", LEAKS),
    "ray.air._internal.usage:tag_callbacks": ("c9fae62f56e51c32", COUNTING),
    "ray.tune.experiment.trial:Trial.generate_id": ("becff5a71a4d17d4", NAMES),
}


def digest(name: str) -> str:
    """16 hex digits of the source of `module:attribute.attribute`, whatever its indentation."""
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    lines = [line.strip() for line in inspect.getsource(found).splitlines()]
    return hashlib.sha256("\n".join(line for line in lines if line).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", READ)
def test_what_a_mend_was_read_against_is_as_it_was(name: str) -> None:
    known, mend = READ[name]
    told = f"{name} is another one in ray {ray.__version__}: read {mend.where} again ({mend.why}) {mend.issue}".strip()
    assert digest(name) == known, told


NODE_CALLS = {  # the fields that `cluster.raylet` sends, and those of the answer that it reads
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
    told = f"{call} is another one in ray {ray.__version__}: read cluster.raylet again {LEAKS.issue}"
    assert {*sent} <= {*method.input_type.fields_by_name}, told
    assert {*read} <= {*method.output_type.fields_by_name}, told


def test_a_digest_tells_another_source() -> None:
    assert digest(f"{TUNE}.checkpoint") != digest(f"{TUNE}.save_to_dir")


def test_what_is_tunes_own_is_imported_in_one_place() -> None:
    """`controller` inherits; all else is in `ray_internals`. What `cluster` needs of Ray's start is not Tune's."""
    package = Path(tuning.__file__).parent
    allowed = {"run/ray_internals.py", "run/controller.py", "testing/simulated_ray.py"}
    found = set()
    for path in package.rglob("*.py"):
        for module in _imported(path):
            if module.startswith(("ray._", "ray.tune.execution", "ray.train._internal", "ray.air.execution")):
                found.add(str(path.relative_to(package)))
    assert found <= allowed


def _imported(path: Path) -> list[str]:
    """Modules that are imported when it runs."""
    tree = ast.parse(path.read_text())
    hidden = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    unseen = {id(inner) for node in hidden for inner in ast.walk(node)}
    seen = [node for node in ast.walk(tree) if id(node) not in unseen]
    names = [alias.name for node in seen if isinstance(node, ast.Import) for alias in node.names]
    return names + [str(node.module) for node in seen if isinstance(node, ast.ImportFrom)]
