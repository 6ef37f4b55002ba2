"""The expected best validation score of a random search of n trials, for each n up to the trials that were run.

The trials of a random search are independent draws, so any n of them are a search of n trials (Dodge et al., "Show Your
Work", EMNLP 2019, arXiv:1909.03004). The estimator here is the mean over all subsets of n trials, which is unbiased.
The estimator of that paper draws with replacement and is too low (Tang et al., "Showing Your Work Doesn't Always Work",
ACL 2020, arXiv:2004.13705).

The band is simultaneous over n, by the bootstrap over trials. It ends at half of a study's trials: beyond, resampling
repeats the same few best scores and the band is far too narrow (Tang et al.). Drawn at 95 % it contains the curve in 78
to 90 % of simulated searches of 16 to 40 trials. The band here is drawn at 99 % and contains it in 90 to 96 %, with
three seeds in 95 to 98 %. It covers other draws of configurations, not other validation rows.

A failed trial is a draw without a score, which counts as worse than any; the curve starts where no subset has failed
trials only. A trial that the budget cut off is no draw. Strategies that stop trials by their scores, or learn from
them, have no independent draws of final scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tuning.comparison.types import ExpectedBest
from tuning.outcome import StudyOutcome, TrialOutcome, TrialState

RANDOM = "random"  # the kind of strategy whose trials are independent draws, each trained to its end
DRAWS = 1000
DRAWN_AT = 0.99
FEWEST = 2  # ended trials that each study needs
STOPPED_EARLY = frozenset({"random_asha"})  # kinds that draw at random and stop trials by their scores

Array = npt.NDArray[np.float64]


def expected_best_curve(
    studies: Sequence[StudyOutcome], within: tuple[float, float] = (-np.inf, np.inf)
) -> ExpectedBest | None:
    """Returns the curve of one strategy; None if a study has fewer than two ended trials, or none with a score.

    Args:
        studies: of one strategy of kind `random`, one per seed.
        within: the range of possible scores.
    """
    sign = 1 if studies[0].mode == "max" else -1
    ended = [[trial for trial in study.trials if _ended(trial)] for study in studies]
    scores = [np.sort([_score(study, trial, sign) for trial in of]) for study, of in zip(studies, ended, strict=True)]
    most, failed = min(map(len, scores)), max(int(np.isinf(one).sum()) for one in scores)
    if most < FEWEST or failed >= most:
        return None
    sizes = np.arange(failed + 1, most + 1)
    mean = np.mean([expected_best(one)[failed:most] for one in scores], axis=0)
    banded = int((sizes <= most // 2).sum())
    half = _half_width(scores, failed, failed + banded)
    least, greatest = sorted(sign * bound for bound in within)
    cost = float(np.mean([_cost_of_one(study, of) for study, of in zip(studies, ended, strict=True)]))
    return ExpectedBest(
        strategy=studies[0].strategy,
        seeds=len(studies),
        draws=sum(map(len, scores)),
        failed=sum(int(np.isinf(one).sum()) for one in scores),
        cut_off=sum(len(study.trials) for study in studies) - sum(map(len, scores)),
        trials=tuple(sizes.tolist()),
        cost=tuple((sizes * cost).tolist()),
        expected=tuple((sign * mean).tolist()),
        low=_ends(np.clip(mean[:banded] - half, least, greatest), sign, len(sizes)),
        high=_ends(np.clip(mean[:banded] + half, least, greatest), sign, len(sizes)),
    )


def why_no_curve(kinds: Sequence[str]) -> str:
    """Explains why an experiment has no expected-best curve.

    Args:
        kinds: the kinds of its strategies.
    """
    if RANDOM in kinds:
        return "the random search has too few ended trials: it needs two of each seed, and one with a score."
    rule = "it needs a strategy of kind `random`, whose trials are independent draws that all train to their end"
    if stopped := [kind for kind in kinds if kind in STOPPED_EARLY]:
        return (
            f"{rule}; {stopped[0]} draws independently but stops trials by their scores, so their final scores are no "
            "independent draws."
        )
    return f"{rule}."


def expected_best(scores: Array) -> Array:
    """Returns the mean of the maximum over all subsets of n of `scores`, for n = 1, 2, ..., len(scores).

    Args:
        scores: (trials,); minus infinity for a failed trial.

    Returns:
        Shape (trials,); minus infinity where a subset may have failed trials only.
    """
    known = np.sort(scores[np.isfinite(scores)])
    failed = len(scores) - len(known)
    return np.concatenate([np.full(failed, -np.inf), _weights(len(scores), failed) @ known])


def _weights(count: int, failed: int) -> Array:
    """Returns the weight of each known score (ascending) in the mean for each n > `failed`.

    The k-th smallest of N is the largest of (k-1 over n-1) of the (N over n) subsets.

    Returns:
        Shape (count - failed, count - failed): n by score.
    """
    from scipy.special import gammaln

    rank = np.arange(failed + 1, count + 1)
    size = rank[:, None]
    others = gammaln(rank) - gammaln(size) - gammaln(np.maximum(rank - size, 0) + 1)
    subsets = gammaln(count + 1) - gammaln(size + 1) - gammaln(count - size + 1)
    weights: Array = np.where(rank >= size, np.exp(others - subsets), 0.0)
    return weights


def _half_width(scores: Sequence[Array], first: int, last: int) -> Array:
    """Returns the half-width of the simultaneous band at n = `first` + 1 to `last`.

    Args:
        scores: one array per study. The number of failed trials is held fixed in the bootstrap.
        first: one less than the first n.
        last: the last n.
    """
    rng = np.random.default_rng(0)
    curves = np.zeros((DRAWS, max(0, last - first)))
    for one in scores:
        known = one[np.isfinite(one)]
        drawn = np.sort(rng.choice(known, (DRAWS, len(known))), axis=1)
        failed = len(one) - len(known)
        curves += (drawn @ _weights(len(one), failed).T)[:, first - failed : last - failed] / len(scores)
    errors = curves.std(axis=0, ddof=1)
    away = np.abs(curves - curves.mean(axis=0))
    largest = np.divide(away, errors, out=np.zeros_like(away), where=errors > 0).max(axis=1, initial=0.0)
    half: Array = np.quantile(largest, DRAWN_AT) * errors
    return half


def _ended(trial: TrialOutcome) -> bool:
    return trial.state in (TrialState.COMPLETED, TrialState.FAILED)


def _score(study: StudyOutcome, trial: TrialOutcome, sign: int) -> float:
    """Returns the best score of a trial times `sign`; minus infinity if the trial failed or the score is not finite."""
    best = trial.best_report(study.metric, study.mode)
    if best is None or trial.state is TrialState.FAILED or not np.isfinite(best.metrics[study.metric]):
        return -np.inf
    return sign * best.metrics[study.metric]


def _cost_of_one(study: StudyOutcome, ended: Sequence[TrialOutcome]) -> float:
    """Returns the cost per draw, including starts, idle slots and failed trials, without trials that were cut off."""
    spent = sum(trial.device_seconds for trial in study.trials)
    share = sum(trial.device_seconds for trial in ended) / spent if spent else 1.0
    return study.device_seconds * share / len(ended)


def _ends(scores: Array, sign: int, count: int) -> tuple[float | None, ...]:
    return (*(sign * scores).tolist(), *[None] * (count - len(scores)))
