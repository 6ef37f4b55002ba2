"""Computes where the time of a tunefleet run goes, trial by trial, from the stamps of `arms.timed`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

FOLDER_VARIABLE = "TUNEFLEET_BENCHMARK"  # where the slots of a timed run leave their stamps
STAMPS = "stamps.jsonl"
PARTS = ("turnover", "build", "restore", "train", "evaluate", "checkpoint")

Stamp = Mapping[str, Any]  # verb, worker, start, end (monotonic seconds), cpu_start, cpu_end (of the process), tokens


def read_stamps(folder: Path) -> list[list[list[Stamp]]]:
    """Reads the trials of each slot process in order, each as a list of stamps; a trial begins where it is built."""
    stamps = [json.loads(line) for line in (folder / STAMPS).read_text().splitlines()]
    stamps.sort(key=lambda stamp: (stamp["worker"], stamp["start"]))
    slots = []
    for _, of_slot in groupby(stamps, key=lambda stamp: stamp["worker"]):
        trials: list[list[Stamp]] = []
        for stamp in of_slot:
            if stamp["verb"] == "build":
                trials.append([])
            trials[-1].append(stamp)
        slots.append(trials)
    return slots


def breakdown(slots: Sequence[Sequence[Sequence[Stamp]]], usage: Mapping[str, Any]) -> dict[str, Any]:
    """Returns seconds and CPU seconds of each part of a trial (medians over trials, and of first ones), and between.

    Args:
        slots: from `read_stamps`.
        usage: of the command (`process_tree.Usage`).
    """
    starts = [slot[0][0]["start"] - usage["started"] for slot in slots]
    ends = [slot[-1][-1]["end"] for slot in slots]
    of_slots = sum(slot[-1][-1]["cpu_end"] for slot in slots)
    later = [trial for slot in slots for trial in _parts(slot)[1:]]
    return {
        "start_up": {"wall": mean(starts), "cpu_of_slots": sum(slot[0][0]["cpu_start"] for slot in slots)},
        "exit": {"wall": usage["wall_seconds"] - (max(ends) - usage["started"])},
        "cpu_outside_slots": usage["cpu_seconds"] - of_slots,
        "first_trials": _medians([_parts(slot)[0] for slot in slots]),
        "later_trials": _medians(later) if later else None,
        "cpu_between_reports": _between_reports(slots),
        "tokens": sum(max(stamp.get("tokens", 0) for stamp in trial) for slot in slots for trial in slot),
    }


def _parts(slot: Sequence[Sequence[Stamp]]) -> list[dict[str, dict[str, float]]]:
    """Returns the time of each part, per trial of one slot. Training is `advance` without the evaluation."""
    found, before = [], None
    for trial in slot:
        sums = {part: {"wall": 0.0, "cpu": 0.0} for part in PARTS}
        for stamp in trial:
            spent = {"wall": stamp["end"] - stamp["start"], "cpu": stamp["cpu_end"] - stamp["cpu_start"]}
            part = "train" if stamp["verb"] == "advance" else stamp["verb"]
            for kind, value in spent.items():
                sums[part][kind] += value
                if part == "evaluate":
                    sums["train"][kind] -= value
        if before is not None:
            gap = {"wall": trial[0]["start"] - before["end"], "cpu": trial[0]["cpu_start"] - before["cpu_end"]}
            sums["turnover"] = gap
        found.append(sums)
        before = max(trial, key=lambda stamp: stamp["end"])
    return found


def _medians(trials: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    return {part: {kind: median(t[part][kind] for t in trials) for kind in ("wall", "cpu")} for part in PARTS}


def _between_reports(slots: Sequence[Sequence[Sequence[Stamp]]]) -> float | None:
    """Returns the mean CPU seconds of a slot between the last reports of two trials; None: no slot had two."""
    spans = []
    for slot in slots:
        ends = [max(stamp["cpu_end"] for stamp in trial if stamp["verb"] == "advance") for trial in slot]
        spans += [after - before for before, after in pairwise(ends)]
    return mean(spans) if spans else None
