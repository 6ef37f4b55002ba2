"""Study stores that break rules of their contract: each does one thing wrong with all that it is told or asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trainables.errors import InputError
from tuning.outcome import ExperimentOutcome, StudyState, TrialOutcome, TrialState
from tuning.store.study_store import StoreError, StudyStore, StudyWriter


class TrialsChanged(StudyStore):
    """Gives its trials back as `change` makes them."""

    def change(self, trial: TrialOutcome) -> list[TrialOutcome]:
        raise NotImplementedError

    def load(self, experiment: str) -> ExperimentOutcome:
        outcome = super().load(experiment)
        studies = (
            replace(study, trials=tuple(new for trial in study.trials for new in self.change(trial)))
            for study in outcome.studies
        )
        return replace(outcome, studies=tuple(studies))


class DoublesReports(TrialsChanged):
    def change(self, trial: TrialOutcome) -> list[TrialOutcome]:
        return [replace(trial, reports=trial.reports + trial.reports[-1:])]


class DoublesTrials(TrialsChanged):
    def change(self, trial: TrialOutcome) -> list[TrialOutcome]:
        return [trial, trial]


class DoublesExploits(TrialsChanged):
    def change(self, trial: TrialOutcome) -> list[TrialOutcome]:
        return [replace(trial, lineage=trial.lineage * 2)]


class LosesErrors(TrialsChanged):
    def change(self, trial: TrialOutcome) -> list[TrialOutcome]:
        return [replace(trial, error=None)]


class LosesCosts(TrialsChanged):
    def change(self, trial: TrialOutcome) -> list[TrialOutcome]:
        return [replace(trial, costs=())]


class LosesCheckpoints(TrialsChanged):
    def change(self, trial: TrialOutcome) -> list[TrialOutcome]:
        return [replace(trial, checkpoints={})]


class RoundsValues(TrialsChanged):
    """Gives values back as texts, as a database's column without types would."""

    def change(self, trial: TrialOutcome) -> list[TrialOutcome]:
        return [replace(trial, params={name: str(value) for name, value in trial.params.items()})]


class LosesInfinity(TrialsChanged):
    def change(self, trial: TrialOutcome) -> list[TrialOutcome]:
        reports = (told._replace(metrics={"accuracy": told.metrics["accuracy"]}) for told in trial.reports)
        return [replace(trial, reports=tuple(reports))]


class FinishesEverything(StudyStore):
    def load(self, experiment: str) -> ExperimentOutcome:
        outcome = super().load(experiment)
        return replace(outcome, studies=tuple(replace(s, state=StudyState.FINISHED) for s in outcome.studies))


class LosesWhatFollows(StudyStore):
    """Loses what is recorded of a study after its search."""

    def load(self, experiment: str) -> ExperimentOutcome:
        outcome = super().load(experiment)
        return replace(outcome, studies=tuple(replace(s, finals=(), confirmations=()) for s in outcome.studies))


class ForgetsTheData(StudyStore):
    def load(self, experiment: str) -> ExperimentOutcome:
        outcome = super().load(experiment)
        return replace(outcome, studies=tuple(replace(study, data=None) for study in outcome.studies))


class ForgetsTestRows(StudyStore):
    def test_rows(self, experiment: str) -> None:
        super().test_rows(experiment)


class CountsTwice(StudyStore):
    def load(self, experiment: str) -> ExperimentOutcome:
        outcome = super().load(experiment)
        return replace(outcome, studies=tuple(replace(s, wall_seconds=2 * s.wall_seconds) for s in outcome.studies))


class ShowsOtherPrograms(StudyStore):
    def experiments(self) -> tuple[str, ...]:
        return (*super().experiments(), "mine")


class SortsByName(StudyStore):
    def experiments(self) -> tuple[str, ...]:
        return tuple(sorted(super().experiments()))


class FindsAnything(StudyStore):
    """Refuses no unknown experiment and no unknown study."""

    def load(self, experiment: str) -> ExperimentOutcome:
        try:
            return super().load(experiment)
        except StoreError:
            return ExperimentOutcome(experiment, "")

    def writer(self, experiment: str, study: Any) -> StudyWriter:
        return super().writer("reviews", study)

    def open_study(self, **told: Any) -> StudyWriter:
        return super().open_study(**{**told, "digest": "d1", "new": False})


class GoesAlong(StudyStore):
    def __reduce__(self) -> Any:
        return StudyStore, (self._url,)


class NamesAnother(StudyStore):
    """Records under a name that lacks its last letter."""

    def open_study(self, **told: Any) -> StudyWriter:
        return super().open_study(**{**told, "experiment": told["experiment"][:-1]})


class WriterChanged(StudyStore):
    """A store whose writers do what `change` makes of them."""

    def change(self, writer: Any) -> None:
        raise NotImplementedError

    def open_study(self, **told: Any) -> StudyWriter:
        writer = super().open_study(**told)
        self.change(writer)
        return writer


def silenced(method: Callable[..., Any]) -> Callable[..., Any]:
    def silent(*arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except (InputError, StoreError, ValueError):
            return None

    return silent


class SwallowsErrors(WriterChanged):
    def change(self, writer: Any) -> None:
        for name in ("add_report", "add_exploit", "end_trial", "write_checkpoints"):
            setattr(writer, name, silenced(getattr(writer, name)))


class RecordsNoEnds(WriterChanged):
    def change(self, writer: Any) -> None:
        writer.end_trial = lambda trial, state, error=None: None


class NamesByChance(WriterChanged):
    def change(self, writer: Any) -> None:
        writer.name_trial = lambda number: os.urandom(4).hex()


class NeverGoesBack(WriterChanged):
    """Ignores reports of epochs for which it has the same or a later report."""

    def change(self, writer: Any) -> None:
        add = writer.add_report

        def only_later(trial: str, told: Any) -> None:
            if not any(known.epoch >= told.epoch for known in writer.reports(trial)):
                add(trial, told)

        writer.add_report = only_later


class NeverRewinds(WriterChanged):
    def change(self, writer: Any) -> None:
        writer.rewind = lambda trial, position: None


class KeepsTheFirstProposal(WriterChanged):
    def change(self, writer: Any) -> None:
        begin = writer.begin_trial

        def once(trial: str, params: Any, searched: Any, *, again: bool = False) -> None:
            if not writer.has_trial(trial):
                begin(trial, params, searched, again=again)

        writer.begin_trial = once


class EndsWhatHasEnded(WriterChanged):
    """Keeps a failed trial as failed when it goes on."""

    def change(self, writer: Any) -> None:
        add, failed = writer.add_report, set()
        end = writer.end_trial

        def ended(trial: str, state: TrialState, error: str | None = None) -> None:
            failed.add(trial)
            end(trial, state, error)

        def refused(trial: str, told: Any) -> None:
            if trial not in failed:
                add(trial, told)

        writer.end_trial, writer.add_report = ended, refused
