"""Caveats about unequal conditions: budgets, costs, knowledge, search spaces and initial points of the strategies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuning.budget import BudgetUse
from tuning.comparison.formatting import join_names
from tuning.comparison.imputation import DEFAULTS
from tuning.comparison.types import StrategyRow, StudyRow
from tuning.outcome import StudyOutcome
from tuning.outcome.attributes import EARLIER_BEST, EARLIER_FROM, EARLIER_TRIALS, FIRST_ORIGINS, PRIORS

SAME_BUDGET = 1.1  # costs within this factor of each other count as equal
SMALL_SHARE = 0.05  # of a budget: a smaller unspent or exceeded part is not reported


def fairness_caveats(
    rows: Sequence[StrategyRow], studies: Sequence[StudyOutcome], spec: Mapping[str, Any]
) -> list[str]:
    """Returns the caveats about unequal conditions of the strategies.

    Args:
        rows: the strategies.
        studies: all studies.
        spec: the resolved spec as its YAML has it; {}: unknown.
    """
    return [*_limits(rows), *_costs(rows), *_knowledge(studies), *(_spaces(rows, spec) or _first_points(studies))]


def _limits(rows: Sequence[StrategyRow]) -> list[str]:
    """Reports studies that had no budget, reached it, exceeded it or left a part of it."""
    without = [
        row.strategy for row in rows if row.kind != DEFAULTS and any(study.budget is None for study in row.studies)
    ]
    found = []
    if without and any(study.budget for row in rows for study in row.studies):
        found.append(f"Without a budget: {join_names(without)}; the others had one.")
    if reached := _shares(rows, lambda study, budget: 1.0 if budget.reached else 0.0):
        everyone = all(study.budget and study.budget.reached for row in rows for study in row.studies)
        ended = "every study" if everyone and len(rows) > 1 else join_names([name for name, _ in reached])
        found.append(f"Ended by the budget, with the best so far: {ended}.")
    if over := _shares(rows, lambda study, budget: budget.overrun / budget.limit, SMALL_SHARE):
        by = [f"{name} by {share}" for name, share in over]
        found.append(f"Over the budget, until the last trial had stopped: {join_names(by)}.")
    if unspent := _shares(rows, _unspent, SMALL_SHARE):
        left = [f"{name} {share}" for name, share in unspent]
        found.append(f"Budget left unspent, because the strategy had ended: {join_names(left)}.")
    return found


def _unspent(study: StudyRow, budget: BudgetUse) -> float:
    return 0.0 if budget.reached or not study.finished else budget.unspent / budget.limit


def _shares(
    rows: Sequence[StrategyRow], share: Callable[[StudyRow, BudgetUse], float], least: float = 0.0
) -> list[tuple[str, str]]:
    """Returns, by strategy, the seeds whose share of the budget is above `least`, and the range of shares."""
    found = []
    for row in rows:
        hit = {s.seed: value for s in row.studies if s.budget and (value := share(s, s.budget)) > least}
        if hit:
            low, high = f"{min(hit.values()):.0%}", f"{max(hit.values()):.0%}"
            found.append((_seeds_of(row, list(hit)), low if low == high else f"{low[:-1]} to {high}"))
    return found


def _seeds_of(row: StrategyRow, seeds: Sequence[int]) -> str:
    """Formats seeds as 'pbt seed 0', 'pbt seeds 0 and 2' or 'pbt (all 5 seeds)'."""
    if len(seeds) == len(row.studies) > 1:
        return f"{row.strategy} (all {len(seeds)} seeds)"
    return f"{row.strategy} seed{'s' if len(seeds) > 1 else ''} {join_names([str(seed) for seed in seeds])}"


def _costs(rows: Sequence[StrategyRow]) -> list[str]:
    costs = {
        row.strategy: row.device_seconds / len(row.studies)
        for row in rows
        if row.device_seconds > 0 and row.kind != DEFAULTS
    }
    if len(costs) < 2:
        return []
    least, most = min(costs, key=lambda name: costs[name]), max(costs, key=lambda name: costs[name])
    factor = costs[most] / costs[least]
    if factor <= SAME_BUDGET:
        return []
    return [
        f"Unequal budgets: per seed, {most} used {factor:.1f} times the device-seconds of {least} "
        f"({costs[most]:,.0f} against {costs[least]:,.0f})."
    ]


def _knowledge(studies: Sequence[StudyOutcome]) -> list[str]:
    """Reports earlier trials, whose cost is in no study, and strategies that knew something which others did not."""
    found, informed = [], dict.fromkeys(study.strategy for study in studies if _knew(study))
    started: dict[tuple[object, object], list[str]] = {}
    for study in studies:
        if (number := study.attributes.get(EARLIER_TRIALS)) is not None:
            names = started.setdefault((number, study.attributes.get(EARLIER_FROM)), [])
            names += [study.strategy] if study.strategy not in names else []
    for (trials, experiments), names in started.items():
        found.append(
            f"{join_names(names)} began with {trials} earlier trials of {experiments}. Their cost, and their results, "
            "are not in these."
        )
    if best := dict.fromkeys(study.strategy for study in studies if EARLIER_BEST in _first_origins(study)):
        found.append(
            f"{join_names(list(best))} began with the best configurations of an earlier experiment. What it cost to "
            "find them is not in these costs."
        )
    others = dict.fromkeys(one.strategy for one in studies if one.kind != DEFAULTS and one.strategy not in informed)
    if informed and others:
        which = f"{join_names(list(informed))} knew points, priors or earlier trials, and {join_names(list(others))}"
        found.append(f"Unequal knowledge: {which} did not.")
    return found


def _knew(study: StudyOutcome) -> bool:
    return any(study.attributes.get(name) for name in (FIRST_ORIGINS, PRIORS, EARLIER_TRIALS))


def _first_origins(study: StudyOutcome) -> list[str]:
    known: list[str] = json.loads(str(study.attributes.get(FIRST_ORIGINS, "[]")))
    return known


def _spaces(rows: Sequence[StrategyRow], spec: Mapping[str, Any]) -> list[str]:
    """Reports strategies with search spaces of their own."""
    shared = spec.get("space") or {}
    entries: list[Mapping[str, Any]] = spec.get("strategies") or []
    by_name = {entry.get("label") or entry["kind"]: entry.get("space") or shared for entry in entries}
    spaces = {row.strategy: by_name[row.strategy] for row in rows if row.strategy in by_name}
    own = [name for name, space in spaces.items() if space != shared]
    if not own or all(space == spaces[own[0]] for space in spaces.values()):
        return []
    which = "a space of its own" if len(own) == 1 else "spaces of their own"
    return [
        f"Unequal spaces: {join_names(own)} searched {which}, so the space may cause a difference, not the strategy."
    ]


def _first_points(studies: Sequence[StudyOutcome]) -> list[str]:
    """Reports groups of strategies that began with the same values: those that draw do, a grid does not."""
    starts: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for study in studies:
        if study.trials and study.kind != DEFAULTS:
            starts.setdefault(study.strategy, []).append((study.seed, study.trials[0].params))
    groups: list[list[str]] = []
    for name, start in starts.items():
        same = next((group for group in groups if starts[group[0]] == start), None)
        if same is None:
            groups.append([name])
        else:
            same.append(name)
    if len(groups) < 2:
        return []
    if len(groups) == 2:
        return [
            f"Unequal initial points: {join_names(groups[0])} began with other values than {join_names(groups[1])}."
        ]
    return [
        f"Unequal initial points, the same only within each of: {'; '.join(join_names(group) for group in groups)}."
    ]
