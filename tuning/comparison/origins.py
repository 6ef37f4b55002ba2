"""Finds what proposed the chosen configurations, and which strategies chose the same one.

With one seed, all strategies that draw at random begin with the same points (`tuning.space.Draws`). If such a point
wins, the search found nothing that random search would not have found; if a point wins that was known before, it found
nothing new. If two searches choose the same values, that seed cannot distinguish the two strategies.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from trainables.reporting import Report
from tuning.comparison.types import ChosenConfiguration, SameChoice, StrategyRow, StudyRow
from tuning.outcome import StudyOutcome, TrialOutcome
from tuning.outcome.attributes import FIRST_ORIGINS, ORIGIN, PRIOR_DRAW, PRIORS, RANDOM_DRAW, RANDOM_FIRST

EXPLOIT, SHARED = "exploit", "first point shared with another strategy"


def origins_of(studies: Sequence[StudyOutcome]) -> dict[tuple[str, int], str | None]:
    """Returns what proposed the chosen configuration, by strategy and seed; None: not recorded, or none chosen."""
    return {(study.strategy, study.seed): _origin(study, studies) for study in studies}


def chosen_configuration(row: StudyRow) -> ChosenConfiguration | None:
    """Returns the configuration that a study chose: the confirmed one if there is one."""
    return row.chosen if row.confirmed is None else row.confirmed.configuration


def same_choices(rows: Sequence[StrategyRow]) -> tuple[SameChoice, ...]:
    """Returns the pairs of strategies that chose the same configuration with some seed, most often first."""
    by_seed = {row.strategy: {one.seed: key for one in row.studies if (key := _values(one))} for row in rows}
    found = []
    for first, second in combinations(by_seed, 2):
        seeds = by_seed[first].keys() & by_seed[second].keys()
        same = sum(by_seed[first][seed] == by_seed[second][seed] for seed in seeds)
        found += [SameChoice(first, second, same, len(seeds))] if same else []
    return tuple(sorted(found, key=lambda one: -one.same / one.seeds))


def origin_caveats(rows: Sequence[StrategyRow], found: Sequence[SameChoice]) -> list[str]:
    """Returns sentences about equal choices and about what proposed the chosen configurations."""
    sentences = []
    if found:
        pairs = "; ".join(f"{one.first} and {one.second} in {one.same} of {one.seeds} seeds" for one in found)
        sentences.append(f"Chose the same configuration: {pairs}. Such seeds cannot show which of the two is better.")
    counts = {row.strategy: Counter(one.origin for one in row.studies if one.origin) for row in rows}
    listed = "; ".join(f"{name}: {_counted(of)}" for name, of in counts.items() if of)
    return [*sentences, f"Origin of the chosen configurations: {listed}."] if listed else sentences


def _counted(origins: Mapping[str, int]) -> str:
    return ", ".join(f"{origin} ({count})" for origin, count in origins.items())


def _values(row: StudyRow) -> tuple[object, ...] | None:
    """Returns the values that identify a configuration, with the epochs at which a schedule changed them."""
    if (chosen := chosen_configuration(row)) is None:
        return None
    return tuple((one.start, *sorted((name, repr(v)) for name, v in one.params.items())) for one in chosen.schedule)


def _origin(study: StudyOutcome, studies: Sequence[StudyOutcome]) -> str | None:
    if (found := _chosen(study)) is None:
        return None
    trial, report = found
    if any(exploit.reports <= trial.reports.index(report) for exploit in trial.lineage):
        return EXPLOIT
    recorded = _proposed_by(study, trial)
    if recorded not in (RANDOM_DRAW, PRIOR_DRAW):
        return recorded
    others = (one for one in studies if one.seed == study.seed and one.strategy != study.strategy)
    shared = any(
        other.params == trial.params and _proposed_by(one, other) == recorded for one in others for other in one.trials
    )
    return SHARED if shared else recorded


def _proposed_by(study: StudyOutcome, trial: TrialOutcome) -> str | None:
    """Returns what proposed a trial's first values; None if an older version did not record it."""
    attributes = study.attributes
    known: list[str] = json.loads(str(attributes.get(FIRST_ORIGINS, "[]")))
    if trial.number < len(known):
        return known[trial.number]
    first, origin = attributes.get(RANDOM_FIRST), attributes.get(ORIGIN)
    if isinstance(first, int) and trial.number < first:
        return PRIOR_DRAW if attributes.get(PRIORS) else RANDOM_DRAW
    return None if origin is None else str(origin)


def _chosen(study: StudyOutcome) -> tuple[TrialOutcome, Report] | None:
    """Returns the trial and report of the chosen configuration."""
    confirmed = study.confirmed()
    if not confirmed:
        return study.best()
    place = confirmed[0].trial, confirmed[0].epoch
    found = ((trial, report) for trial in study.trials for report in trial.reports if (trial.id, report.epoch) == place)
    return next(found, None)
