"""`kill -9` of a real driver while several studies run side by side, twice: every study comes to its end.

On one slot each decision is the same after that, and in virtual time at any moment: test_resume_decisions.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import yaml

from tests.support.drivers import Drivers, Watched
from tests.support.power_cuts import in_virtual_time
from tests.support.specs import curve_fields
from tests.support.stopped_runs import SECONDS, check_nothing_was_repeated, outcomes
from trainables.spec import Value
from tuning import load_spec
from tuning.outcome import StudyOutcome, StudyState, TrialState
from tuning.spec.models import ExperimentSpec
from tuning.store.study_store import StudyStore

pytestmark = pytest.mark.system

STRATEGIES = [
    {"kind": "random_asha", "trials": 6},
    {"kind": "pbt", "population": 4},
    {"kind": "hyperopt_asha", "trials": 6, "initial_random": 3},
]
PLANNED = {"random_asha": 6, "pbt": 4, "hyperopt_asha": 6}
REPORTS = 14  # after which a driver is killed


def spec_in(folder: Path) -> ExperimentSpec:
    fields = curve_fields(
        folder,
        epochs=3,
        strategies=STRATEGIES,
        seeds=[0, 1],
        fixed={"model.seconds_per_epoch": 0.4},
        cluster={"max_concurrent": 4, "cpus_per_trial": 0.5, "gpus_per_trial": 0},
        test=False,
    )
    file = folder / "spec.yaml"
    file.write_text(yaml.safe_dump(fields))
    return load_spec(file)


def test_studies_whose_driver_is_killed_twice_while_they_overlap_come_to_their_ends(
    drivers: Drivers, tmp_path: Path
) -> None:
    spec, killed = spec_in(tmp_path), list[dict[str, StudyOutcome]]()
    for command in (["run", str(tmp_path / "spec.yaml")], ["resume", "whole", "--storage", str(tmp_path)]):
        driver = Watched(drivers.start(*command))
        assert driver.wait_until(lambda driver=driver: len(driver.told) >= REPORTS), driver.errors  # type: ignore[misc]
        os.kill(driver.process.pid, signal.SIGKILL)  # of its Ray nothing is ended by the test
        driver.end()
        killed.append(recorded(spec))
        assert sum(study.state is StudyState.RUNNING for study in killed[-1].values()) > 1

    resumed = drivers.start("resume", "whole", "--storage", str(tmp_path))
    _, told = resumed.communicate(timeout=SECONDS)
    assert resumed.returncode == 0, told
    after = recorded(spec)
    assert len(after) == len(STRATEGIES) * len(spec.seeds)
    for name, study in after.items():
        check_complete(study)
        for before in killed:
            if name in before:
                check_nothing_was_repeated(before[name], study, graceful=False)
    check_decisions(spec, after)


def recorded(spec: ExperimentSpec) -> dict[str, StudyOutcome]:
    """The studies by strategy and seed."""
    return {f"{study.strategy} {study.seed}": study for study in StudyStore(spec.store_url).load(spec.name).studies}


def check_complete(study: StudyOutcome) -> None:
    """Each trial is recorded once, with each of its epochs once, and has ended.

    A model may propose other values in place of a trial that no snapshot knew; that one is kept as lost.
    """
    assert study.state is StudyState.FINISHED
    trials = [trial for trial in study.trials if "lost in an interruption" not in (trial.error or "")]
    assert len({trial.id for trial in trials}) == len(trials) == PLANNED[study.strategy]
    assert len(trials) == len(study.trials) or study.strategy == "hyperopt_asha"
    assert {trial.state for trial in trials} <= {TrialState.COMPLETED, TrialState.STOPPED}
    for trial in trials:
        assert [report.epoch for report in trial.reports] == [n + 1.0 for n in range(len(trial.reports))]


def check_decisions(spec: ExperimentSpec, after: dict[str, StudyOutcome]) -> None:
    """Checks that populations and random draws, which no order of arrival changes, are as undisturbed."""
    undisturbed = in_virtual_time(spec.model_copy(update={"name": "undisturbed"}))
    for expected in undisturbed.studies:
        study = after[f"{expected.strategy} {expected.seed}"]
        if study.strategy == "pbt":
            assert outcomes(study) == outcomes(expected)
            assert lineages(study) == lineages(expected)
        elif study.strategy == "random_asha":
            assert rates(study) == rates(expected)


def rates(study: StudyOutcome) -> list[Value]:
    return [trial.params["learning_rate"] for trial in study.trials]


def lineages(study: StudyOutcome) -> list[list[tuple[float, Value]]]:
    return [[(exploit.epoch, exploit.new["learning_rate"]) for exploit in trial.lineage] for trial in study.trials]
