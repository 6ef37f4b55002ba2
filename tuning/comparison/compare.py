"""Builds the comparison of an experiment's strategies from its outcome, with the other modules of this package."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trainables.errors import InputError
from tuning.argument_checks import shortened, type_name
from tuning.budget import Price
from tuning.comparison.advice import advice_text
from tuning.comparison.anytime import anytime_curves, best_score, best_so_far_curve, target_cost
from tuning.comparison.baseline import declared_baseline
from tuning.comparison.caveats import comparison_caveats
from tuning.comparison.expected_best import RANDOM, expected_best_curve, why_no_curve
from tuning.comparison.front import box_in_words, experiment_front, front_advice
from tuning.comparison.hypervolume import HYPERVOLUME, Volumes, scored_by_volume
from tuning.comparison.imputation import impute_failed
from tuning.comparison.origins import origin_caveats, origins_of, same_choices
from tuning.comparison.pairs import pairs_of
from tuning.comparison.ranks import rank_strategies
from tuning.comparison.scores import StudyScores, mean_estimate, study_scores, with_bootstrap
from tuning.comparison.study_rows import study_row
from tuning.comparison.ties import find_ties, tie_caveats
from tuning.comparison.types import AnytimeCurves, Comparison, Curve, ExpectedBest, StrategyRow, StudyRow
from tuning.comparison.verdict import verdict_text
from tuning.comparison.verdict_levels import level_share, verdict_caveats, verdict_number
from tuning.outcome import ExperimentOutcome, StudyOutcome, StudyState, TrialState, best_study

UNIT_METRICS = frozenset({"accuracy", "f1", "macro_f1", HYPERVOLUME})  # in 0..1
SEVERAL = "a front is of all trials together, so smaller searches cannot be drawn from it."
WORTHWHILE = 0.01
CLOSED_FORM = "learning_curve"  # the trainable whose scores come from a formula, not from rows


def compare(
    outcome: ExperimentOutcome,
    *,
    spec: Mapping[str, Any] | None = None,
    target: float | None = None,
    price: Price | None = None,
) -> Comparison:
    """Compares all strategies of an experiment, finished or not.

    Args:
        outcome: of the experiment.
        spec: the resolved spec as its YAML has it, to compare what the strategies were given.
        target: the validation score for which the cost to reach it is reported. Default: the median final score of the
            worst strategy.
        price: of a device-hour. Default: that of the experiment's budget.

    Raises:
        InputError: `outcome` is no outcome of an experiment.
        ValueError: the outcome has no study.
    """
    _require_studies(outcome)
    goal, front = outcome.studies[0].goal, experiment_front(outcome)
    volumes = scored_by_volume(outcome)
    outcome = outcome if volumes is None else volumes.outcome
    declared, first, by_strategy = spec or {}, outcome.studies[0], _by_strategy(outcome.studies)
    curves = {name: [best_so_far_curve(study) for study in studies] for name, studies in by_strategy.items()}
    tests = {name: [_test_scores(study, volumes) for study in studies] for name, studies in by_strategy.items()}
    completed = impute_failed(by_strategy, tests)
    target = _worst_final(curves.values(), first.mode) if target is None else target
    price = first.price if price is None else price
    rows = _strategy_rows(by_strategy, with_bootstrap(tests, first.metric), curves, target, price)
    expected = () if goal else _expected_best(by_strategy)
    baseline, worthwhile = _baseline(rows, declared), worthwhile_of(declared, first.metric)
    number, planned = verdict_number(outcome.studies)
    pairs = pairs_of(
        with_bootstrap(completed.tests, first.metric),
        first.metric,
        first.mode,
        baseline=baseline.strategy,
        worthwhile=worthwhile,
        lost=completed.lost,
        rowless=declared.get("trainable") == CLOSED_FORM,
        share=level_share(number, planned),
        unfinished=_unfinished(outcome.studies, declared),
    )
    won, same = best_study(outcome.studies), () if goal else same_choices(rows)
    best = next((row for row in rows if won is not None and row.strategy == won.strategy), None)
    confirmed = best is not None and best.best is not None and best.best.confirmed
    ties = None if goal or confirmed else find_ties(outcome.studies)
    ranks, ranked_by = rank_strategies(rows, completed.tests, first.mode)
    return Comparison(
        experiment=outcome.name,
        metric=first.metric,
        mode=first.mode,
        device=first.device,
        rows=rows,
        best=best,
        target=target,
        baseline=baseline.strategy,
        worthwhile=worthwhile,
        pairs=pairs,
        expected=expected,
        no_expected=None if expected else SEVERAL if goal else why_no_curve([row.kind for row in rows]),
        ranks=ranks,
        ranked_by=ranked_by,
        price=price,
        alike=same,
        ties=ties,
        advice=front_advice(outcome.name, front, goal) if goal else advice_text(best, rows, first.metric, first.mode),
        verdict=verdict_text(rows, pairs, first.metric, baseline, worthwhile, may_grow=number < planned),
        caveats=(
            *(() if volumes is None or goal is None else (box_in_words(goal, volumes.box),)),
            *(verdict_caveats(number, planned) if pairs else ()),
            *tie_caveats(ties, first.metric, declared, outcome.data),
            *(() if goal else origin_caveats(rows, same)),
            *comparison_caveats(rows, pairs, outcome.studies, spec, completed.imputed),
        ),
        front=front,
        goal=str(goal or ""),
    )


def _test_scores(study: StudyOutcome, volumes: Volumes | None) -> StudyScores | None:
    """Returns the test scores of a study; of several objectives its hypervolume."""
    return study_scores(study) if volumes is None else volumes.tests.get((study.strategy, study.seed))


def _require_studies(outcome: object) -> None:
    if not isinstance(outcome, ExperimentOutcome):
        step = "give what run_experiment returns, or tunefleet.load_outcome(NAME)"
        raise InputError("outcome", shortened(outcome), f"{type_name(outcome)} is no outcome of an experiment", step)
    if not outcome.studies:
        raise ValueError(f"experiment {outcome.name!r} holds no study: nothing to compare; run it first")


def _by_strategy(studies: Sequence[StudyOutcome]) -> dict[str, list[StudyOutcome]]:
    found: dict[str, list[StudyOutcome]] = {}
    for study in studies:
        found.setdefault(study.strategy, []).append(study)
    return found


def worthwhile_of(spec: Mapping[str, Any], metric: str) -> float | None:
    """Returns the smallest difference of test scores that matters: the spec's, else 0.01 for a metric in 0..1.

    None if it is set to 0, or not set for another metric.
    """
    given = spec.get("worthwhile")
    if given is None:
        return WORTHWHILE if metric in UNIT_METRICS else None
    return float(given) or None


def _unfinished(studies: Sequence[StudyOutcome], spec: Mapping[str, Any]) -> str | None:
    """Returns why nothing is claimed yet, if searches still run: each verdict costs a part of the error rate."""
    planned = len(spec.get("strategies") or ()) * len(spec.get("seeds") or ())
    if len(studies) < planned or any(study.state is not StudyState.FINISHED for study in studies):
        return "not all searches have ended"
    return None


def _baseline(rows: Sequence[StrategyRow], spec: Mapping[str, Any]) -> StrategyRow:
    """Returns the declared baseline, else the first strategy."""
    declared = declared_baseline({row.strategy: row.kind for row in rows}, spec)
    return next((row for row in rows if row.strategy == declared), rows[0])


def _expected_best(by_strategy: Mapping[str, Sequence[StudyOutcome]]) -> tuple[ExpectedBest, ...]:
    """Returns what smaller random searches would have found, for each random search that allows an estimate."""
    found = [expected_best_curve(own, _score_range(own[0])) for own in by_strategy.values() if own[0].kind == RANDOM]
    return tuple(one for one in found if one is not None)


def _score_range(study: StudyOutcome) -> tuple[float, float]:
    """Returns the range of possible scores of a study's metric."""
    return (0.0, 1.0) if study.metric in UNIT_METRICS else (-math.inf, math.inf)


def _strategy_rows(
    by_strategy: Mapping[str, Sequence[StudyOutcome]],
    tests: Mapping[str, Sequence[StudyScores | None]],
    curves: Mapping[str, Sequence[Curve]],
    target: float | None,
    price: Price | None,
) -> tuple[StrategyRow, ...]:
    """Builds the row of each strategy; anytime curves share the costs and the best score of all strategies."""
    everything = [study for studies in by_strategy.values() for study in studies]
    mode, within = everything[0].mode, _score_range(everything[0])
    all_curves = [curve for found in curves.values() for curve in found]
    end, best = max(curve.end for curve in all_curves), best_score(all_curves, mode)
    origins = origins_of(everything)
    return tuple(
        _strategy_row(
            studies,
            tests[name],
            origins,
            anytime_curves(name, curves[name], mode, end, within=within, best=best),
            target,
            price,
        )
        for name, studies in by_strategy.items()
    )


def _strategy_row(
    studies: Sequence[StudyOutcome],
    tests: Sequence[StudyScores | None],
    origins: Mapping[tuple[str, int], str | None],
    anytime: AnytimeCurves,
    target: float | None,
    price: Price | None,
) -> StrategyRow:
    rows = tuple(
        study_row(study, test, origins[study.strategy, study.seed]) for study, test in zip(studies, tests, strict=True)
    )
    states = {state: sum(study.count(state) for study in studies) for state in TrialState}
    cost = sum(row.device_seconds for row in rows)
    confirming = sum(one.device_seconds for study in studies for one in study.confirmations)
    gaps = [row.confirmed.gap for row in rows if row.confirmed]
    all_scored = [test for test in tests if test is not None]
    return StrategyRow(
        strategy=studies[0].strategy,
        kind=studies[0].kind,
        studies=rows,
        best=_best_row(rows, studies),
        median_validation=_median(row.chosen.validation for row in rows if row.chosen),
        median_test=_median(row.test for row in rows if row.test is not None),
        test=mean_estimate(all_scored, studies[0].metric) if len(all_scored) == len(studies) else None,
        worst_test=_worst(all_scored, studies[0].mode),
        middle_test=interquartile_mean([test.score for test in all_scored]),
        gap=float(np.mean(gaps)) if gaps else None,
        anytime=anytime,
        reach=None if target is None else target_cost(anytime.curves, studies[0].mode, target),
        device_seconds=cost,
        busy_device_seconds=sum(row.busy_device_seconds for row in rows),
        confirming=confirming,
        money=None if price is None else price.of(cost + confirming),
        epochs=sum(row.epochs for row in rows),
        trials=sum(len(study.trials) for study in studies),
        completed=states[TrialState.COMPLETED],
        stopped=states[TrialState.STOPPED],
        failed=states[TrialState.FAILED],
        running=states[TrialState.RUNNING],
    )


def interquartile_mean(scores: Sequence[float]) -> float | None:
    """Returns the mean without the best and worst quarter of `scores`; None without scores.

    The quarter is rounded down: of three scores all count, of five the middle three.
    """
    from scipy.stats import trim_mean

    return float(trim_mean(scores, 0.25)) if scores else None


def _worst(tests: Sequence[StudyScores], mode: str) -> float | None:
    return (min if mode == "max" else max)((test.score for test in tests), default=None)


def _worst_final(curves: Iterable[Sequence[Curve]], mode: str) -> float | None:
    """Returns the worst median final score of a strategy: every strategy reaches it with half of its seeds."""
    finals = [_median(curve.steps[-1].score for curve in found if curve.steps) for found in curves]
    known = [final for final in finals if final is not None]
    return (min if mode == "max" else max)(known, default=None)


def _best_row(rows: Sequence[StudyRow], studies: Sequence[StudyOutcome]) -> StudyRow | None:
    best = best_study(studies)
    return next((row for row, study in zip(rows, studies, strict=True) if study is best), None)


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return float(np.median(found)) if found else None
