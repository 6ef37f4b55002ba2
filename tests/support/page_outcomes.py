"""An experiment for the page, made by arithmetic, without Ray and without a store.

It has every kind of strategy, several seeds, 200 trials, failures, texts that attack the page, confirmations.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import yaml

from trainables.reporting import Report
from trainables.tasks.summary import DataSummary, FileRead, SplitSummary, TokenizerSummary, TokenSummary
from tuning.outcome import (
    Confirmation,
    ExperimentOutcome,
    Exploit,
    Stretch,
    StudyOutcome,
    StudyState,
    TestScore,
    TrialOutcome,
    TrialState,
)

HOSTILE = "ValueError: </script><img src=x onerror=\"document.body.dataset.hit='1'\"> & <b>bold</b> \u2028 ]]>"
DATA = DataSummary(
    source="reviews.csv",
    files=(FileRead(path="reviews.csv", split="train", rows=10_090, encoding="cp1252", separator=";", quoted=True),),
    splits={
        "train": SplitSummary(rows=7000, classes={"neg": 6300, HOSTILE: 700}),
        "validation": SplitSummary(rows=1000, classes={"neg": 900, HOSTILE: 100}),
        "test": SplitSummary(rows=2000, classes={"neg": 1800, HOSTILE: 200}),
    },
    duplicates=90,
    contradictions=4,
    positive=HOSTILE,
    tokens={
        "train": TokenSummary(rows=7000, median=180, longest=2100, cut_rows=3500, lost_share=0.42, unknown_share=0.001)
    },
    tokenizer=TokenizerSummary(
        vocabulary=30522, max_length=128, limit=512, pad_token="[PAD]", pad_id=0, padding_side="right"
    ),
)
EPOCHS = 4
BEGIN = 1_760_000_000.0  # seconds since 1970
SPEC = {
    "name": "everything",
    "task": "reviews",
    "trainable": "learning_curve",
    "epochs": EPOCHS,
    "space": {
        "learning_rate": {"loguniform": [1e-5, 1e-3]},
        "weight_decay": {"uniform": [0.0, 0.3]},
        "per_device_train_batch_size": {"choice": [16, 32, 64]},
        "lr_scheduler_type": {"choice": ["linear", "cosine"]},
    },
    "strategies": [
        {
            "kind": "grid",
            "space": {
                "learning_rate": {"choice": [1e-5, 3e-5, 1e-4, 3e-4, 1e-3]},
                "per_device_train_batch_size": {"choice": [16, 32]},
            },
        },
        {"kind": "hyperopt_asha", "trials": 48, "grace_epochs": 1, "reduction_factor": 2},
        {
            "kind": "pbt",
            "population": 8,
            "space": {
                "learning_rate": {"loguniform": [1e-5, 1e-3]},
                "weight_decay": {"uniform": [0.0, 0.3]},
            },
        },
    ],
    "seeds": [0, 1, 2],
}


def spec_text() -> str:
    return yaml.safe_dump(SPEC, sort_keys=False)


def score(params: dict, epoch: float, rng: random.Random) -> float:
    """Returns an accuracy that is best at a rate of 1e-4, and rises with the epochs."""
    off = math.log10(params["learning_rate"] / 1e-4)
    return 0.9 - 0.08 * off**2 - 0.3 * math.exp(-epoch) + rng.gauss(0, 0.005)


def draw(rng: random.Random) -> dict:
    return {
        "learning_rate": 10 ** rng.uniform(-5, -3),
        "weight_decay": rng.uniform(0, 0.3),
        "per_device_train_batch_size": rng.choice([16, 32, 64]),
        "lr_scheduler_type": rng.choice(["linear", "cosine"]),
    }


class Slots:
    """Tells when and where the next trial can start."""

    def __init__(self, count: int) -> None:
        self.free = [BEGIN] * count

    def run(self, seconds: float) -> float:
        """Takes the slot that is free first for `seconds`; returns the time at which it starts."""
        slot = min(range(len(self.free)), key=self.free.__getitem__)
        start = self.free[slot]
        self.free[slot] = start + seconds + 0.6
        return start


def reports(params: dict, epochs: int, start: float, rng: random.Random, pace: float = 5.0) -> tuple[Report, ...]:
    return tuple(
        Report(e, {"accuracy": score(params, e, rng), "loss": 1.0 / e}, params, pace, start + pace * e)
        for e in range(1, epochs + 1)
    )


def grid(seed: int) -> StudyOutcome:
    rng, slots = random.Random(seed), Slots(4)
    trials = []
    for rate in (1e-5, 3e-5, 1e-4, 3e-4, 1e-3):
        for size in (16, 32):
            params = {"learning_rate": rate, "per_device_train_batch_size": size}
            number = len(trials)
            name = f"g{seed}{number:03d}"
            own = reports(params, EPOCHS, slots.run(20), rng)
            trials.append(TrialOutcome(name, number, TrialState.COMPLETED, params, own))
    return study("grid", seed, trials, slots)


def asha(seed: int, count: int = 48) -> StudyOutcome:
    rng, slots = random.Random(seed + 10), Slots(4)
    rungs: dict[int, list[float]] = {1: [], 2: []}
    trials = []
    for number in range(count):
        params, name = draw(rng), f"a{seed}{number:03d}"
        if number == 5:
            failed = TrialOutcome(name, number, TrialState.FAILED, params, (), error=HOSTILE)
            trials.append(failed)
            continue
        full = reports(params, EPOCHS, 0.0, rng)
        last = next((e for e in rungs if not passes(rungs[e], full[e - 1].metrics["accuracy"])), EPOCHS)
        start = slots.run(5.0 * last)
        own = tuple(r._replace(time=start + r.time) for r in full[:last])
        state = TrialState.COMPLETED if last == EPOCHS else TrialState.STOPPED
        trials.append(TrialOutcome(name, number, state, params, own))
    return study("hyperopt_asha", seed, trials, slots)


def passes(seen: list[float], value: float) -> bool:
    seen.append(value)
    return value >= sorted(seen)[len(seen) // 2]


def pbt(seed: int, members: int = 8) -> StudyOutcome:
    rng, time = random.Random(seed + 20), BEGIN
    values = [{k: v for k, v in draw(rng).items() if k in ("learning_rate", "weight_decay")} for _ in range(members)]
    begun = [dict(v) for v in values]
    history: list[list[Report]] = [[] for _ in values]
    lineage: list[list[Exploit]] = [[] for _ in values]
    for epoch in range(1, EPOCHS + 1):
        for m in range(members):
            wave = time + 5.3 * (m // 4)
            metrics = {"accuracy": score(values[m], epoch, rng), "loss": 1.0 / epoch}
            history[m].append(Report(epoch, metrics, dict(values[m]), 5.0, wave + 5.0))
        time += 11.0
        order = sorted(range(members), key=lambda m: history[m][-1].metrics["accuracy"])
        for bad, good in zip(order[:2], order[-2:], strict=True):
            if epoch == EPOCHS:
                break
            new = {name: value * rng.choice((0.8, 1.2)) for name, value in values[good].items()}
            old, values[bad] = values[bad], new
            counts = len(history[bad]), len(history[good])
            lineage[bad].append(Exploit(epoch, f"p{seed}{good:03d}", old, new, time, *counts))
    trials = [
        TrialOutcome(f"p{seed}{m:03d}", m, TrialState.COMPLETED, begun[m], tuple(history[m]), tuple(lineage[m]))
        for m in range(members)
    ]
    slots = Slots(4)
    slots.free = [time] * 4
    return study("pbt", seed, trials, slots)


def study(strategy: str, seed: int, trials: Sequence[TrialOutcome], slots: Slots) -> StudyOutcome:
    wall = max(slots.free) - BEGIN
    versions = {"tunefleet": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "data_fingerprint": "9f3ab2c4d5e6f708"}
    made = StudyOutcome(
        strategy, strategy, seed, StudyState.FINISHED, "accuracy", "max", tuple(trials), wall, 4, 1.0, "GPU",
        attributes=versions,
    )  # fmt: skip
    best = made.best()
    assert best is not None
    trial, report = best
    accuracy = report.metrics["accuracy"]
    rng = random.Random(seed)
    schedule = (Stretch(0.0, report.epoch, report.params),)
    confirmations = tuple(
        Confirmation(
            1, trial.id, report.epoch, schedule, accuracy, again, 20.0, BEGIN + wall,
            {"accuracy": accuracy - 0.015 + rng.gauss(0, 0.006)},
        )
        for again in range(5)
    )  # fmt: skip
    test = TestScore(trial.id, report.epoch, report.params, {"accuracy": accuracy - 0.02}, 1000, "/best", BEGIN + wall)
    return replace(made, confirmations=confirmations, test=test)


def everything() -> ExperimentOutcome:
    """Makes 198 trials: three seeds each of a grid of 10, ASHA with 48, a population of 8; one of each ASHA fails."""
    studies = tuple(replace(make(seed), data=DATA) for make in (grid, asha, pbt) for seed in (0, 1, 2))
    return ExperimentOutcome("everything", "0123456789abcdef", studies)
