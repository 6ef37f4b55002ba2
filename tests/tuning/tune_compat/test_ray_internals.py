"""The private parts of Tune that are used do what `tuning.tune_compat` promises, called directly.

`test_controller_contract` drives Tune's own controller, `test_processes` Ray's processes. Releases of Ray that these
have not passed on are refused at a run's start (`tuning.spec.validation.versions`).
"""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError, RayActorError, RayError, RaySystemError
from ray.train import Checkpoint
from ray.train._internal.session import _TrainingResult
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment, Trial
from ray.tune.experiment.trial import _TrainingRunMetadata
from ray.tune.search import Searcher
from ray.tune.search.search_generator import SearchGenerator

from tuning.tune_compat import controller, internals, saving_controller
from tuning.tune_compat.controller import Controller
from tuning.tune_compat.population import continue_from
from tuning.tune_compat.processes import as_actor_error

pytestmark = pytest.mark.unit

ACTOR = "ab" * 16


class EndlessSearcher(Searcher):  # type: ignore[misc]
    """A searcher that proposes for ever, and keeps the results that Tune passes on."""

    def __init__(self) -> None:
        super().__init__()
        self.suggested: list[str] = []
        self.results: dict[str, Any] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.suggested.append(trial_id)
        return {"x": 1}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.results[trial_id] = result

    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...


def search_in(folder: Path, searcher: Searcher) -> SearchGenerator:
    search = SearchGenerator(searcher)
    search.add_configurations(
        [Experiment("contract", run=lambda config: None, storage_path=str(folder), num_samples=9)]
    )
    return search


def test_the_next_trial_has_the_name_that_it_is_given_and_so_the_searcher_hears_of_it(tmp_path: Path) -> None:
    searcher = EndlessSearcher()
    search = search_in(tmp_path, searcher)
    with internals.next_trial_id("t-007"):
        trial = search.next_trial()
    assert (trial.trial_id, searcher.suggested) == ("t-007", ["t-007"])
    assert search.next_trial().trial_id not in ("", "t-007")  # Tune's own again


def test_a_trial_that_is_taken_up_again_may_fail_as_often_as_a_new_one(tmp_path: Path) -> None:
    trial = search_in(tmp_path, EndlessSearcher()).next_trial()
    trial.run_metadata.num_failures = 3
    internals.reset_failures([trial])
    assert trial.run_metadata.num_failures == 0


def trial_of(folder: Path, epoch: float) -> Trial:
    """One that has reported that epoch and saved a checkpoint of it."""
    trial = Trial("contract", stub=True, trial_id=folder.name)
    folder.mkdir()
    result = {"epoch": epoch, "training_iteration": 1, "metrics": {"accuracy": 0.5}}
    trial.update_last_result({**result, "trial_id": trial.trial_id})
    saved = _TrainingResult(Checkpoint.from_directory(str(folder)), dict(result))
    trial.run_metadata.checkpoint_manager.register_checkpoint(saved)
    return trial


def test_a_trial_that_continues_from_a_donor_is_restored_from_its_checkpoint_and_saved_so(tmp_path: Path) -> None:
    donor, member = trial_of(tmp_path / "donor", 3), trial_of(tmp_path / "member", 2)
    before = member.get_json_state()
    marked: list[Trial] = []
    runner = SimpleNamespace(_tune_controller=SimpleNamespace(_mark_trial_to_checkpoint=marked.append))
    continue_from(runner, member, donor)
    assert member.checkpoint.path == str(tmp_path / "donor")
    assert member.latest_checkpoint_result.metrics["epoch"] == 3
    member.latest_checkpoint_result.metrics["epoch"] = 7
    assert donor.latest_checkpoint_result.metrics["epoch"] == 3  # not edited through the clone
    assert marked == [member]
    assert member.get_json_state()[1] != before[1]


def test_a_snapshot_holds_no_statistics_that_are_forgotten_and_the_last_checkpoint_alone(tmp_path: Path) -> None:
    trial = trial_of(tmp_path / "trial", 1)
    for epoch in (2, 3):
        checkpoint = Checkpoint.from_directory(str(tmp_path / f"epoch {epoch}"))
        result = _TrainingResult(checkpoint=checkpoint, metrics={"epoch": epoch})
        trial.run_metadata.checkpoint_manager.register_checkpoint(result)
    assert json.loads(trial.get_json_state()[1])["metric_analysis"]
    before = len(trial.get_json_state()[1])
    internals.forget_past(trial)
    trial.run_metadata.invalidate_cache()
    saved = json.loads(trial.get_json_state()[1])
    assert not saved["metric_analysis"]
    assert not saved["metric_n_steps"]
    restored = _TrainingRunMetadata.from_json_state(trial.get_json_state()[1]).checkpoint_manager
    assert [one.metrics["epoch"] for one in restored.best_checkpoint_results] == [3]
    assert restored.latest_checkpoint_result.checkpoint.path == str(tmp_path / "epoch 3")
    assert len(trial.get_json_state()[1]) < before


@pytest.mark.parametrize("error", [RaySystemError("lost"), OutOfMemoryError("Task was killed"), NodeDiedError("gone")])
def test_whatever_ends_a_process_becomes_an_error_of_its_actor(error: RayError) -> None:
    made = as_actor_error(ACTOR, error)
    assert isinstance(made, RayActorError)
    assert made.actor_id == ACTOR
    assert str(error) in f"{made} {made.__cause__}"


def test_an_error_of_an_actor_stays_what_it_is() -> None:
    for error in (RayActorError(ACTOR, "gone"), ActorDiedError()):
        assert as_actor_error(ACTOR, error) is error


def test_the_messages_that_tell_a_processes_end_have_the_fields_that_are_read() -> None:
    from ray.core.generated import gcs_pb2

    actor, worker = gcs_pb2.ActorTableData.DESCRIPTOR, gcs_pb2.WorkerTableData.DESCRIPTOR
    assert "worker_id" in actor.fields_by_name["address"].message_type.fields_by_name
    assert "is_alive" in worker.fields_by_name


def test_what_the_controller_overrides_is_there_and_takes_the_same() -> None:
    """A method that Ray has renamed would never be called, and nothing would say so."""
    trees = [ast.parse(inspect.getsource(module)) for module in (controller, saving_controller)]
    extended = {
        node.func.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Call)
        and ast.unparse(node.func.value) == "super()"
    } - {"__init__"}
    assert len(extended) > 10
    for name in sorted(extended):
        theirs = list(inspect.signature(getattr(TuneController, name)).parameters.values())
        ours = inspect.signature(getattr(Controller, name))
        given = {p.name: None for p in theirs if p.name != "self" and p.kind is not p.VAR_KEYWORD}
        ours.bind(None, **given) if given else ours.bind(None)
