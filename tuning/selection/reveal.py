"""Shows the hidden score of a model that is there already (`train-final --reveal-test`), and records the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import InputError
from trainables.machine.disk import write_whole
from tuning.outcome import ExperimentOutcome, FinalModel
from tuning.selection.card import CARD, model_card
from tuning.selection.evaluations import evaluation_ids, final_evaluation_id, known_evaluations, record_evaluations
from tuning.selection.hidden_score import unpack_score
from tuning.selection.kept_model import KeptModel, describe_score
from tuning.selection.winner import Winner
from tuning.spec.models import ExperimentSpec

if TYPE_CHECKING:
    from tuning.store.study_store import StudyStore


def hidden_in(outcome: ExperimentOutcome, folder: Path) -> FinalModel | None:
    """Return the model that `train-final` wrote to `folder` last, if its score is hidden and the folder is there."""
    models = [model for study in outcome.studies for model in study.finals if model.folder == str(folder)]
    last = max(models, key=lambda model: model.time, default=None)
    return last if last is not None and last.hidden and (folder / CARD).is_file() else None


def reveal(
    spec: ExperimentSpec,
    outcome: ExperimentOutcome,
    winner: Winner,
    model: FinalModel,
    store: StudyStore,
    say: Callable[[str], None],
) -> KeptModel:
    """Record the evaluation, then show the score in the store, with `say`, and in the folder's card.

    Raises:
        InputError: the model's configuration is not the one that is asked for.
        StoreError: the evaluation or the score cannot be recorded; nothing is shown then.
        OSError: the card cannot be written.
    """
    folder = Path(model.folder)
    if (model.trial, model.epoch) != (
        winner.candidate.trial,
        winner.candidate.epoch,
    ) or model not in winner.study.finals:
        rule = "holds a model of another configuration than the winner's that is asked for"
        raise InputError("--reveal-test", str(folder), rule, "train the winner's (--force), or another (--out FOLDER)")
    assert model.sealed is not None
    score = unpack_score(model.sealed)
    shown = replace(model, metrics=score.scores.metrics, rows=score.scores.rows, sealed=None)
    own = evaluation_ids(spec.name, outcome.studies)
    record_evaluations(spec, store, [*own, final_evaluation_id(spec.name, winner.study, shown)])
    store.writer(spec.name, winner.study).add_final(shown)
    say(describe_score(shown, winner.study.metric))
    memory = known_evaluations(spec, store, own) if outcome.test_memory is None else outcome.test_memory
    kept = KeptModel(spec, winner, shown, score.scores, score.provenance, score.label_names, len(own), memory)
    write_whole(folder / CARD, model_card(kept).encode())
    return kept
