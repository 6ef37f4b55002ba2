"""Makes the controller of a study, as `tune.run` makes Tune's own, and names the environment of trials' processes.

Not `tune.run`: it runs one study, and returns when that has ended. Not `tune.Tuner`: its `restore` brings back pickled
callbacks and a scheduler without state. Read against ray 2.60.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ray.tune import CheckpointConfig, register_trainable
from ray.tune.experiment import Experiment
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher, SearchGenerator
from ray.tune.utils.log import set_verbosity

from tuning.tune_compat.controller import Controller

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.tune_config import ResumeConfig


@dataclass(frozen=True)
class TrialsPlan:
    """Describes the trials of one study, or of jobs, to Tune.

    Args:
        name: of the study; its folder on the storage.
        trainable: a class or a function, as Tune takes it.
        folder: that holds the study's.
        resources: of one trial.
        callbacks: called at each event.
        most: trials that are started at most.
        param_space: of Tune's own search; empty if a searcher proposes every value.
        searcher, scheduler: Tune's own if there is none.
        filesystem: of the storage; None: the local one.
        checkpoints: each report has one, and the end.
        stop: ends a trial with the report that has these values.
        max_failures: restarts of a trial.
        resume: go on from what lies in the folder; None: begin.
        snapshot_seconds: between two snapshots that no event causes.
    """

    name: str
    trainable: Any
    folder: str
    resources: Any
    callbacks: list[Any]
    most: int = 1
    param_space: Mapping[str, Any] = field(default_factory=dict)
    searcher: Searcher | SearchAlgorithm | None = None
    scheduler: TrialScheduler | None = None
    filesystem: FileSystem | None = None
    checkpoints: bool = False
    stop: Mapping[str, Any] | None = None
    max_failures: int = 0
    resume: ResumeConfig | None = None
    snapshot_seconds: float = 10.0


def make_controller(plan: TrialsPlan, **own: Any) -> Controller:
    """Return the controller of a study, ready for its first step.

    Args:
        own: what `Controller` takes besides Tune's arguments.

    Raises:
        RunFolderError: Tune cannot go on from the snapshot.
    """
    set_verbosity(0)
    experiment = _experiment(plan)
    search, scheduler = _search(plan), plan.scheduler or FIFOScheduler()
    if plan.param_space:
        search.set_search_properties(None, None, dict(plan.param_space), **experiment.public_spec)
    scheduler.set_search_properties(None, None, **experiment.public_spec)
    controller = Controller(
        search_alg=search,
        scheduler=scheduler,
        stopper=experiment.stopper,
        callbacks=plan.callbacks,
        storage=experiment.storage,
        trial_checkpoint_config=experiment.checkpoint_config,
        checkpoint_period=os.environ.get("TUNE_GLOBAL_CHECKPOINT_S", plan.snapshot_seconds),
        resume_config=plan.resume,
        **own,
    )
    if controller.resumed:
        controller.update_pending_trial_resources(plan.resources)
        for trial in controller.get_trials():
            trial.trainable_name = plan.name  # under which this run has registered it
    else:
        search.add_configurations([experiment])
    controller.setup_experiments(experiments=[experiment], total_num_samples=search.total_samples)
    return controller


def _experiment(plan: TrialsPlan) -> Experiment:
    """Describe the study to Tune. Its trainable has the study's name: several are registered at the same time."""
    register_trainable(plan.name, plan.trainable)
    return Experiment(
        plan.name,
        plan.name,
        stop=plan.stop,
        config=dict(plan.param_space),
        num_samples=plan.most,
        storage_path=plan.folder,
        storage_filesystem=plan.filesystem,
        resources_per_trial=plan.resources,
        checkpoint_config=CheckpointConfig(
            checkpoint_frequency=int(plan.checkpoints), checkpoint_at_end=plan.checkpoints
        ),
        trial_dirname_creator=trial_folder,
        max_failures=plan.max_failures,
    )


def _search(plan: TrialsPlan) -> SearchAlgorithm:
    if plan.searcher is None:
        return BasicVariantGenerator()
    return SearchGenerator(plan.searcher) if isinstance(plan.searcher, Searcher) else plan.searcher


def trial_folder(trial: Any) -> str:
    """The name of a trial's folder below the study's. Snapshots name this function: a resume looks for it here."""
    return str(trial.trial_id)


def slot_environment() -> dict[str, Any]:
    """The runtime environment of Tune's trial actors: a worker that is started to wait for one must have the same."""
    from ray.tune import Trainable
    from ray.tune.execution.class_cache import _ActorClassCache

    return dict(_ActorClassCache().get(Trainable)._default_options["runtime_env"])
