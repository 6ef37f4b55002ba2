"""Computes the figures of a session from its runs: medians, ranges, efficiencies, ratios, the gate. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, median, stdev
from typing import Any

from benchmarks.workload import Workload

LIMIT, OURS = "limit", "tunefleet"
DEFAULT = "fp32"  # the precision of a Trainer that is told none
PEERS = ("ray", "ray_expert", "optuna", "ray_function", "drop_in", "drop_in_expert")

Run = Mapping[str, Any]  # arm, precision, repeat, and what `session.run_arm` returns
Spread = Mapping[str, float]  # median, low, high


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Returns median and range; None without values."""
    return {"median": median(values), "low": min(values), "high": max(values)} if values else None


def summarise(runs: Sequence[Run], workload: Workload, our_tokens: int | None) -> dict[str, Any]:
    """Returns each arm's figures in the workload's precision over the repeats; runs with an error do not count.

    `our_tokens` come from the breakdown: `tunefleet run` itself counts none.

    `efficiency` divides the limit's loop (its start not counted) by the arm (start and end counted), both of one
    repeat. `ratios` compares the peers with tunefleet, `default_ratios` the peers as they are by default, where
    tunefleet computes in another precision.
    """
    good = _finished(runs, workload.precision)
    names = dict.fromkeys(run["arm"] for run in runs if run["precision"] == workload.precision)
    repeats = sorted({repeat for _, repeat in good})
    arms = {name: _arm(name, good, repeats, workload) for name in names}
    if OURS in arms:
        arms[OURS]["tokens"] = our_tokens
    by_default = {} if workload.precision == DEFAULT else _finished(runs, DEFAULT)
    return {
        "arms": arms,
        "ratios": {name: _ratio(name, good, good, repeats) for name in PEERS if name in names and OURS in names},
        "default_ratios": {
            name: _ratio(name, by_default, good, repeats)
            for name in PEERS
            if OURS in names and any(arm == name for arm, _ in by_default)
        },
    }


def _finished(runs: Sequence[Run], precision: str) -> dict[tuple[str, int], Run]:
    """Returns the runs in one precision that may be used, by arm and repeat."""
    return {(run["arm"], run["repeat"]): run for run in runs if run["precision"] == precision and run["error"] is None}


def _arm(name: str, good: Mapping[Any, Run], repeats: Sequence[int], workload: Workload) -> dict[str, Any]:
    runs = [good[name, repeat] for repeat in repeats if (name, repeat) in good]
    wall = [run["usage"]["wall_seconds"] for run in runs]
    tokens = [sum(trial["tokens"] for trial in run["trials"]) for run in runs if _counts_tokens(run)]
    pairs = [(good[LIMIT, r]["loop"], good[name, r]) for r in repeats if (LIMIT, r) in good and (name, r) in good]
    figures = {
        "runs": len(runs),
        "wall_seconds": spread(wall),
        "cpu_seconds": spread([run["usage"]["cpu_seconds"] for run in runs]),
        "device_seconds": spread([seconds * workload.devices for seconds in wall]),
        "trials_per_device_hour": spread([3600 * workload.trials / (seconds * workload.devices) for seconds in wall]),
        "tokens": tokens[0] if tokens else None,
        "bytes_written": spread([run["usage"]["bytes_written"] for run in runs]),
        "bytes_left": spread([run["bytes_left"] for run in runs]),
        "efficiency": {
            kind: spread([loop[f"{kind}_seconds"] / run["usage"][f"{kind}_seconds"] for loop, run in pairs])
            for kind in ("wall", "cpu")
        },
    }
    if name == LIMIT:
        figures["loop"] = {kind: spread([run["loop"][f"{kind}_seconds"] for run in runs]) for kind in ("wall", "cpu")}
    return figures


def _counts_tokens(run: Run) -> bool:
    return bool(run["trials"]) and all("tokens" in trial for trial in run["trials"])


def _ratio(
    peer: str, theirs: Mapping[Any, Run], ours: Mapping[Any, Run], repeats: Sequence[int]
) -> dict[str, dict[str, float] | None]:
    """Returns how many times the cost of tunefleet the peer has, repeat by repeat."""
    both = [repeat for repeat in repeats if (peer, repeat) in theirs and (OURS, repeat) in ours]
    pairs = [(theirs[peer, repeat]["usage"], ours[OURS, repeat]["usage"]) for repeat in both]
    return {kind: spread([peers[key] / own[key] for peers, own in pairs]) for kind, key in _SECONDS}


_SECONDS = (("wall", "wall_seconds"), ("cpu", "cpu_seconds"))


def steady_state(runs: Sequence[Run], cpu_between_reports: float | None) -> float | None:
    """Efficiency once start-up is over: CPU seconds of the limit per trial after each process's first, by tunefleet's
    from report to report."""
    later = []
    for run in runs:
        if run["arm"] == LIMIT and run["error"] is None:
            of_first = {min(t["learning_rate"] for t in run["trials"] if t["worker"] == w) for w in _workers(run)}
            later += [t["cpu_seconds"] for t in run["trials"] if t["learning_rate"] not in of_first]
    return mean(later) / cpu_between_reports if later and cpu_between_reports else None


def _workers(run: Run) -> set[int]:
    return {trial["worker"] for trial in run["trials"]}


def gate(
    ours: Sequence[Mapping[str, Any]],
    plain: Sequence[Mapping[str, Any]],
    limit: Sequence[Mapping[str, Any]],
    peers: Mapping[str, Sequence[Mapping[str, Any]]],
    seeds: Sequence[float],
) -> dict[str, Any]:
    """Checks that a trial computes what it should.

    Args:
        ours: tunefleet's trials, in the order of the list; so are `plain`, a plain Trainer's on the same batches,
            `limit`, the plain loop's (empty: it did not run), and `peers`, by arm.
        seeds: accuracies of one configuration under several seeds.

    Returns:
        `identical`: how many trials have the same accuracy and loss bit for bit, `identical_limit`: how many of the
        limit's; `largest_difference` of the losses; and per peer,
        whose batches are others, the mean difference in accuracy and whether it is within two standard errors by the
        seeds.
    """
    error = 2 * stdev(seeds) * math.sqrt(2 / len(ours))
    means = {
        arm: mean(t["accuracy"] for t in ours) - mean(t["accuracy"] for t in trials) for arm, trials in peers.items()
    }
    return {
        "trials": len(ours),
        "identical": _identical(ours, plain),
        "identical_limit": _identical(ours, limit) if limit else None,
        "largest_difference": max(abs(a["loss"] - b["loss"]) for a, b in zip(ours, plain, strict=True)),
        "seed_sd": stdev(seeds),
        "allowed": error,
        "peers": {arm: {"difference": value, "within": abs(value) <= error} for arm, value in means.items()},
    }


def _identical(ours: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> int:
    return sum((a["accuracy"], a["loss"]) == (b["accuracy"], b["loss"]) for a, b in zip(ours, others, strict=True))
