"""Every kind of Trainer that users have: paused it is trained as plainly, and gone on with as if undisturbed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, set_seed

from tests.support.user_trainer_kinds import KINDS, Kind, OwnSchedule
from trainables.spec import FineTuneSpec, Objective
from trainables.training import Evaluation
from trainables.user_trainer.user_training import UserTraining

pytestmark = pytest.mark.unit

SPEC = FineTuneSpec(trainable="mine:make", epochs=4, seed=3, objective=Objective(metric="accuracy", mode="max"))
kinds = pytest.mark.parametrize("kind", [pytest.param(kind, id=name) for name, kind in KINDS.items()])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def to_the_end(training: UserTraining, every: float) -> list[Evaluation]:
    """Trains until nothing is left."""
    evaluations = [training.advance(every)]
    while evaluations[-1].epoch < training.horizon:
        evaluations.append(training.advance(every))
    return evaluations


def weights(trainer: Trainer) -> torch.Tensor:
    """All of them, in one row."""
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def plainly(kind: Kind, folder: Path, **params: Any) -> tuple[Trainer, torch.Tensor]:
    """The Trainer after its own `train()`, and its weights then, before it goes back to the best."""
    set_seed(SPEC.seed)
    trainer = kind.make({"output_dir": str(folder), **params})
    if isinstance(trainer, OwnSchedule):  # what train() calls alone now makes both, as the method's documentation says
        steps = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[6]
        trainer.create_optimizer = lambda *_: trainer.create_optimizer_and_scheduler(steps)
    last: list[torch.Tensor] = []
    trainer._load_best_model = lambda: last.append(weights(trainer))
    trainer.train()
    return trainer, last[0] if last else weights(trainer)


def reported(trainer: Trainer) -> list[float]:
    """The metric of each evaluation, as the Trainer logged it."""
    return [line["eval_accuracy"] for line in trainer.state.log_history if "eval_accuracy" in line]


@kinds
def test_paused_it_computes_bit_for_bit_what_train_does(kind: Kind, tmp_path: Path) -> None:
    trainer, trained = plainly(kind, tmp_path)
    paused = UserTraining(kind.make, {}, SPEC)
    evaluations = to_the_end(paused, kind.report_every)
    assert len(trainer.seen.steps) > 4
    assert paused.trainer.seen.steps == trainer.seen.steps
    assert paused.trainer.seen.rows == trainer.seen.rows
    assert paused.trainer.seen.ended == 1
    assert [evaluation.metrics["accuracy"] for evaluation in evaluations] == reported(trainer)
    assert torch.equal(weights(paused.trainer), trained)


@kinds
@pytest.mark.parametrize("within", [False, True], ids=["after a pass", "within a pass"])
def test_a_state_is_gone_on_with_as_if_undisturbed(kind: Kind, within: bool, tmp_path: Path) -> None:
    every = kind.within if within else kind.report_every
    undisturbed = UserTraining(kind.make, {}, SPEC)
    undisturbed.advance(every)
    undisturbed.save(tmp_path)
    undisturbed.score("validation")
    before = len(undisturbed.trainer.seen.steps)
    rest = to_the_end(undisturbed, every)
    restored = UserTraining(kind.make, {}, SPEC)
    restored.restore(tmp_path)
    assert to_the_end(restored, every) == rest
    assert restored.trainer.seen.steps == undisturbed.trainer.seen.steps[before:]
    assert torch.equal(weights(restored.trainer), weights(undisturbed.trainer))


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=name) for name, kind in KINDS.items() if "learning_rate" in kind.exploit]
)
def test_after_an_exploit_each_step_has_the_values_that_a_training_of_its_own_has_there(
    kind: Kind, tmp_path: Path
) -> None:
    """Rate, decay and betas of each group, by the schedule's position, and rows per batch."""
    alone, _ = plainly(kind, tmp_path, **kind.exploit)
    donor = UserTraining(kind.make, {}, SPEC)
    donor.advance(kind.report_every)
    donor.save(tmp_path)
    member = UserTraining(kind.make, kind.exploit, SPEC)
    member.restore(tmp_path)
    evaluation = member.advance(kind.report_every)
    steps = member.trainer.seen.steps
    assert steps
    assert steps == [step for step in alone.seen.steps if steps[0][0] <= step[0] <= steps[-1][0]]
    assert evaluation.params == kind.exploit
