"""Populations that perturb: in a real Ray run, read off the optimizer, the loader and the model, not off the config."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.specs import places_fields
from trainables.finetune.schedule import Schedule
from trainables.tunables import TUNABLES
from tuning import load_spec, run_experiment
from tuning.outcome import Exploit, StudyOutcome

pytestmark = pytest.mark.ray


EPOCHS = 3
STRATEGIES: dict[str, dict[str, Any]] = {
    "pbt": {"kind": "pbt", "population": 4, "resample_probability": 0.0},
    # With so many members some take over, in whatever order they arrive.
    "pbt without waiting": {"kind": "pbt", "population": 8, "resample_probability": 0.0, "synchronous": False},
    "pb2": {"kind": "pb2", "population": 4},
    "pb2 without waiting": {"kind": "pb2", "population": 8, "synchronous": False},
}


class Run:
    """A finished study of a population of small BERTs, and all that its trials saw."""

    def __init__(self, study: StudyOutcome, events: list[dict[str, Any]], synchronous: bool) -> None:
        self.study, self.events, self.synchronous = study, events, synchronous
        self.rows = len(next(e["rows"] for e in events if e["event"] == "advanced"))

    def exploits(self) -> list[Exploit]:
        return [exploit for trial in self.study.trials for exploit in trial.lineage]

    def find(self, kind: str, params: Any, **facts: Any) -> dict[str, Any]:
        """The first event of that kind of a trial with exactly these values in force."""
        for event in (e for e in self.events if e["event"] == kind):
            in_force = all(event["params"][name] == value for name, value in params.items())
            if in_force and all(event[key] == value for key, value in facts.items()):
                return event
        raise AssertionError(f"no event {kind} with {dict(params)} and {facts}")


@pytest.fixture(scope="module", params=STRATEGIES)
def run(
    request: pytest.FixtureRequest,
    ray_session: None,
    tiny_model: Path,
    tiny_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    strategy, folder = STRATEGIES[request.param], tmp_path_factory.mktemp("pbt")
    data = shutil.copy(tiny_data, folder / "places.csv")
    raw = places_fields(
        folder,
        data,
        tiny_model,
        trainable="tests.support.probes:ProbedFineTuning",
        epochs=EPOCHS,
        space={
            "learning_rate": {"loguniform": [1e-4, 1e-2]},
            "weight_decay": {"uniform": [0.0, 0.3]},
            "adam_beta1": {"uniform": [0.8, 0.95]},
            "adam_beta2": {"uniform": [0.9, 0.999]},
            "per_device_train_batch_size": {"choice": [4, 8, 16, 32]},
            "model.hidden_dropout_prob": {"uniform": [0.0, 0.3]},
        },
        fixed={"model.attention_probs_dropout_prob": 0.0},
        strategies=[{**strategy, "quantile": 0.5}],
        seeds=[3],
        test=False,
    )
    outcome = run_experiment(load_spec(raw), progress=False)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return Run(outcome.study(strategy["kind"], 3), events, strategy.get("synchronous", True))


def test_the_bottom_half_is_replaced_after_every_generation_but_the_last(run: Run) -> None:
    if run.synchronous:
        assert sorted(exploit.epoch for exploit in run.exploits()) == [1, 1, 2, 2]
    assert run.exploits()
    assert all(trial.epochs == EPOCHS for trial in run.study.trials)


def test_every_exploit_proposes_other_values_than_the_donors(run: Run) -> None:
    for exploit in run.exploits():
        weights = run.find("restored", exploit.new, epoch=exploit.epoch)["weights"]
        donor = run.find("advanced", {}, epoch=exploit.epoch, weights=weights)
        assert exploit.new != {name: donor["params"][name] for name in exploit.new}
        if run.study.kind == "pbt":  # the model of pb2 may choose one value again, such as a bound
            assert exploit.new["learning_rate"] != donor["params"]["learning_rate"]
            assert exploit.new["per_device_train_batch_size"] != donor["params"]["per_device_train_batch_size"]


def test_weights_and_moments_are_the_donors_and_so_is_the_score(run: Run) -> None:
    for exploit in run.exploits():
        restored = run.find("restored", exploit.new, epoch=exploit.epoch)
        donor = next(trial for trial in run.study.trials if trial.id == exploit.donor)
        report = next(report for report in donor.reports if report.epoch == exploit.epoch)
        saved = run.find("advanced", report.params, epoch=exploit.epoch)
        assert restored["weights"] == saved["weights"]
        assert restored["moments"] == saved["moments"]
        assert restored["metrics"] == saved["metrics"] == dict(report.metrics)


def test_the_first_step_after_an_exploit_uses_the_members_own_values(run: Run) -> None:
    defaults = {name: tunable.default for name, tunable in TUNABLES.items()}
    for exploit in run.exploits():
        new = exploit.new
        step = run.find("stepping", new, start=round(exploit.epoch * run.rows))
        batch = new["per_device_train_batch_size"]
        schedule = Schedule.of({**defaults, **new}, total=EPOCHS * run.rows, step=int(batch))
        assert step["rates"] == pytest.approx([schedule.rate(exploit.epoch * run.rows)] * 2, rel=1e-12)
        assert step["rates"][0] == pytest.approx(new["learning_rate"] * (1 - exploit.epoch / EPOCHS))
        assert step["decay"] == [new["weight_decay"], 0.0]
        assert step["betas"] == [new["adam_beta1"], new["adam_beta2"]]
        assert step["batch"] == batch
        assert step["dropout"] == sorted({0.0, new["model.hidden_dropout_prob"]})


def test_no_row_is_skipped_or_repeated_when_the_batch_size_changes(run: Run) -> None:
    changed = 0
    for exploit in run.exploits():
        size = exploit.new["per_device_train_batch_size"]
        changed += size != exploit.old["per_device_train_batch_size"]
        trained = run.find("trained", exploit.new, start=round(exploit.epoch * run.rows))
        assert trained["steps"] == math.ceil(run.rows / size)
        assert trained["examples"] == round((exploit.epoch + 1) * run.rows)
    assert changed
    for event in run.events:
        if event["event"] == "advanced":
            assert event["rows"] == list(range(run.rows))


def test_reports_carry_the_values_that_earned_the_score(run: Run) -> None:
    for trial in run.study.trials:
        values = dict(trial.params)
        exploits = {exploit.reports: exploit for exploit in trial.lineage}
        for number, report in enumerate(trial.reports):
            if number in exploits:
                values = dict(exploits[number].new)
            assert {name: report.params[name] for name in values} == values
            assert run.find("advanced", report.params, epoch=report.epoch)["metrics"] == dict(report.metrics)
