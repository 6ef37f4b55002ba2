"""What a comparison cannot carry, in sentences: pure functions over its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trainables.wording import counted
from tuning.budget import BudgetUse
from tuning.comparison.formatting import decimals_for, join_names
from tuning.comparison.imputation import DEFAULTS, ImputedScore
from tuning.comparison.repeats import repeated_seeds
from tuning.comparison.scores import StudyScores, not_finite, study_scores
from tuning.comparison.types import Pair, StrategyRow, StudyRow
from tuning.comparison.verdict import evidence_in_words, pair_of_two_best
from tuning.comparison.version_caveats import version_caveats
from tuning.outcome import StudyOutcome

SAME_BUDGET = 1.1  # costs within this factor of each other count as equal
SMALL_SHARE = 0.05  # of a budget: what is unspent or overrun below it is not told


def comparison_caveats(
    rows: Sequence[StrategyRow],
    pairs: Sequence[Pair],
    studies: Sequence[StudyOutcome],
    spec: Mapping[str, Any] | None,
    stand_ins: Sequence[ImputedScore] = (),
) -> tuple[str, ...]:
    """Everything that a reader of the table has to know to not be misled by it.

    Args:
        spec: the resolved spec, as its YAML has it. Without it what the strategies were given cannot be compared.
        stand_ins: what counts as the test scores of failed searches.
    """
    if all(row.best is None for row in rows):  # there is nothing to be misled by
        return (*_unfinished(studies), *_failures(rows), *_not_finite(studies), *_lost_nodes(studies))
    repeats = _repeats(studies)
    return (
        *_unfinished(studies),
        *version_caveats(studies),
        *_seeds(rows, pairs, repeats),
        *_failures(rows),
        *_not_finite(studies),
        *_stand_ins(stand_ins),
        *_repeated(repeats),
        *_withheld(pairs),
        *_lost_nodes(studies),
        *_limits(rows),
        *_costs(rows),
        *(_spaces(rows, spec or {}) or _first_points(studies)),
        *_tests(rows, studies, stand_ins),
        *_small_test(rows, pairs),
        *_confirmations(rows, studies),
        *_looks(rows),
        *_borrowed_tests(studies),
        *_test_looks(studies),
    )


def _unfinished(studies: Sequence[StudyOutcome]) -> list[str]:
    open_ones = [f"{study.strategy} seed {study.seed}" for study in studies if study.state.value != "finished"]
    return [f"Not finished: {join_names(open_ones)}."] if open_ones else []


def _seeds(rows: Sequence[StrategyRow], pairs: Sequence[Pair], repeats: Mapping[str, Sequence[int]]) -> list[str]:
    counts = {row.strategy: len(row.studies) for row in rows}
    single = [name for name, count in counts.items() if count == 1]
    found = []
    if single:
        order = "find another configuration" if len(rows) == 1 else "turn the order around"
        found.append(f"One seed only for {join_names(single)}: another seed may {order}.")
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(f"Unequal numbers of seeds ({told}): only those in common are compared in pairs.")
    alike = [
        row.strategy
        for row in rows
        if len(scores := [study.chosen.validation for study in row.studies if study.chosen]) > 1
        and len(set(scores)) == 1
    ]
    if alike:
        found.append(f"All seeds of {join_names(alike)} gave the same score: they are one observation, repeated.")
    alone = [pair for pair in pairs if pair.first not in repeats and pair.second not in repeats]
    short = [pair for pair in alone if pair.seeds < max(counts.values())]
    if short and len(set(counts.values())) == 1:
        told = ", ".join(f"{pair.first} and {pair.second} {pair.seeds}" for pair in short)
        found.append(f"Fewer seeds with a test score in common than there are ({told}).")
    return found


def _test_looks(studies: Sequence[StudyOutcome]) -> list[str]:
    """Reports how many models were evaluated on the test rows, of this experiment and of earlier ones."""
    memory = next((study.test_memory for study in studies if study.test_memory is not None), None)
    if memory is None:
        return []
    chosen = sum(study.test is not None for study in studies)
    chosen += sum(one.test is not None for study in studies for one in study.confirmations)
    final = sum(bool(model.metrics) for study in studies for model in study.finals)
    finals = f" and {counted(final, 'final model')}" if final else ""
    evaluated = f"Each model was evaluated on the test rows once: {counted(chosen, 'chosen model')}{finals}."
    return [*([evaluated] if chosen + final else []), *memory.sentences()]


def _borrowed_tests(studies: Sequence[StudyOutcome]) -> list[str]:
    """A Trainer of the user's own that validates on what was published for testing."""
    splits = {str(study.attributes.get("validation_split", "")) for study in studies}
    if not (borrowed := sorted(split for split in splits if split.startswith("test"))):
        return []
    return [
        f"The validation rows are of the published split `{borrowed[0]}`: the search has chosen by them, so no score "
        "on that split is a test of the model any more. Validate on rows that are held out of the training split."
    ]


def _failures(rows: Sequence[StrategyRow]) -> list[str]:
    return [
        f"{row.strategy}: {row.failed} of {row.trials} trials failed; they cost time and gave no configuration."
        for row in rows
        if row.failed
    ]


def _not_finite(studies: Sequence[StudyOutcome]) -> list[str]:
    found = [f"{study.strategy} seed {study.seed}" for study in studies if not_finite(study)]
    return (
        [f"The test score is no finite number, so the search counts as failed: {join_names(found)}."] if found else []
    )


def _repeats(studies: Sequence[StudyOutcome]) -> dict[str, list[int]]:
    """By strategy, seeds that came to a model which an earlier seed of it had come to."""
    tests: dict[str, list[StudyScores]] = {}
    for study in studies:
        if (test := study_scores(study)) is not None:
            tests.setdefault(study.strategy, []).append(test)
    return {name: seeds for name, found in tests.items() if (seeds := repeated_seeds(found))}


def _repeated(repeats: Mapping[str, Sequence[int]]) -> list[str]:
    if not repeats:
        return []
    found = [f"{name} seed{'s' if len(of) > 1 else ''} {', '.join(map(str, of))}" for name, of in repeats.items()]
    return [
        f"Trained with the values and training seeds of an earlier seed of the strategy: {join_names(found)}. Both are "
        "one observation, and count as one."
    ]


def _stand_ins(found: Sequence[ImputedScore]) -> list[str]:
    by: dict[str, list[ImputedScore]] = {}
    for one in found:
        by.setdefault(one.by, []).append(one)
    digits = decimals_for(one.score for one in found)
    return [
        f"Searches without a test score: {join_names([f'{one.strategy} seed {one.seed}' for one in those])}. In the "
        f"pairs {words} ({join_names(list(dict.fromkeys(f'{one.score:.{digits}f}' for one in those)))}) stands for "
        "theirs: to leave them out would favour the strategy whose searches fail."
        for words, those in by.items()
    ]


def _withheld(pairs: Sequence[Pair]) -> list[str]:
    """Why nothing is claimed of some pairs, each reason once."""
    by: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.withheld is not None and pair.about == "strategies":
            by.setdefault(pair.withheld, []).append(f"{pair.first} and {pair.second}")
    if len(by) == 1 and len(those := next(iter(by.values()))) == len(pairs):
        return [f"No difference is claimed whatever its p: {next(iter(by))}."] if those else []
    return [
        f"No difference of {join_names(those)} is claimed whatever its p: {reason}." for reason, those in by.items()
    ]


def _lost_nodes(studies: Sequence[StudyOutcome]) -> list[str]:
    return [
        f"{study.strategy} seed {study.seed}: {len(study.node_losses)} restarts of trials whose node "
        f"({', '.join(sorted({loss.node for loss in study.node_losses}))}) was lost; what they computed again is in "
        "the cost."
        for study in studies
        if study.node_losses
    ]


def _limits(rows: Sequence[StrategyRow]) -> list[str]:
    """How the studies stood to their budget."""
    without = [
        row.strategy for row in rows if row.kind != DEFAULTS and any(study.budget is None for study in row.studies)
    ]
    found = []
    if without and any(study.budget for row in rows for study in row.studies):
        found.append(f"Without a budget: {join_names(without)}; the others had one.")
    if reached := _shares(rows, lambda study, budget: 1.0 if budget.reached else 0.0):
        everyone = all(study.budget and study.budget.reached for row in rows for study in row.studies)
        told = "every study" if everyone and len(rows) > 1 else join_names([name for name, _ in reached])
        found.append(f"Ended by the budget, with the best so far: {told}.")
    if over := _shares(rows, lambda study, budget: budget.overrun / budget.limit, SMALL_SHARE):
        by = [f"{name} by {share}" for name, share in over]
        found.append(f"Over the budget, until the last trial had stopped: {join_names(by)}.")
    if unspent := _shares(rows, _unspent, SMALL_SHARE):
        left = [f"{name} {share}" for name, share in unspent]
        found.append(f"Left unspent of the budget, because the strategy had ended: {join_names(left)}.")
    return found


def _unspent(study: StudyRow, budget: BudgetUse) -> float:
    return 0.0 if budget.reached or not study.finished else budget.unspent / budget.limit


def _shares(
    rows: Sequence[StrategyRow], share: Callable[[StudyRow, BudgetUse], float], least: float = 0.0
) -> list[tuple[str, str]]:
    """By strategy the seeds whose share of the budget is above `least`, and from where to where those shares go."""
    found = []
    for row in rows:
        hit = {s.seed: value for s in row.studies if s.budget and (value := share(s, s.budget)) > least}
        if hit:
            low, high = f"{min(hit.values()):.0%}", f"{max(hit.values()):.0%}"
            found.append((_seeds_of(row, list(hit)), low if low == high else f"{low[:-1]} to {high}"))
    return found


def _seeds_of(row: StrategyRow, seeds: Sequence[int]) -> str:
    """'pbt seed 0', 'pbt seeds 0 and 2', 'pbt (all 5 seeds)'."""
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


def _spaces(rows: Sequence[StrategyRow], spec: Mapping[str, Any]) -> list[str]:
    """Who searched what, by the spec."""
    shared = spec.get("space") or {}
    entries: list[Mapping[str, Any]] = spec.get("strategies") or []
    by_name = {entry.get("label") or entry["kind"]: entry.get("space") or shared for entry in entries}
    spaces = {row.strategy: by_name[row.strategy] for row in rows if row.strategy in by_name}
    own = [name for name, space in spaces.items() if space != shared]
    if not own or all(space == spaces[own[0]] for space in spaces.values()):
        return []
    which = "a space of its own" if len(own) == 1 else "spaces of their own"
    return [
        f"Unequal spaces: {join_names(own)} searched {which}, so a difference may be the space's, not the strategy's."
    ]


def _first_points(studies: Sequence[StudyOutcome]) -> list[str]:
    """Which strategies began with the same values, seed by seed: those that draw do, a grid has points of its own."""
    starts: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for study in studies:
        if study.trials and study.kind != DEFAULTS:
            starts.setdefault(study.strategy, []).append((study.seed, study.trials[0].params))
    groups: list[list[str]] = []
    for name, start in starts.items():
        alike = next((group for group in groups if starts[group[0]] == start), None)
        if alike is None:
            groups.append([name])
        else:
            alike.append(name)
    if len(groups) < 2:
        return []
    if len(groups) == 2:
        return [f"Unequal initial points: {join_names(groups[0])} began with others than {join_names(groups[1])}."]
    return [
        f"Unequal initial points, the same only within each of: {'; '.join(join_names(group) for group in groups)}."
    ]


def _tests(
    rows: Sequence[StrategyRow], studies: Sequence[StudyOutcome], stand_ins: Sequence[ImputedScore]
) -> list[str]:
    found = []
    sizes = sorted({study.test.rows for study in studies if study.test})
    if len(sizes) > 1:
        found.append(f"Test scores rest on different numbers of rows ({', '.join(f'{n:,}' for n in sizes)}).")
    for study in studies:
        best = study.best()
        if study.confirmations or not study.test or not best:
            continue
        if (study.test.trial, study.test.epoch) != (best[0].id, best[1].epoch):
            found.append(
                f"{study.strategy} seed {study.seed}: the test score is of trial {study.name_of(study.test.trial)} at "
                f"epoch {study.test.epoch:g}, not of the best validation score (trial {best[0].name}, epoch "
                f"{best[1].epoch:g})."
            )
    filled = {(one.strategy, one.seed) for one in stand_ins}
    missing = [
        row.strategy
        for row in rows
        if any(study.test is None and (row.strategy, study.seed) not in filled for study in row.studies)
    ]
    if missing and any(study.test is not None for row in rows for study in row.studies):
        found.append(f"Not every seed has a test score: {join_names(missing)}.")
    return found


def _small_test(rows: Sequence[StrategyRow], pairs: Sequence[Pair]) -> list[str]:
    """The two best differ by less than what these seeds and rows can tell."""
    if not pairs or (pair := pair_of_two_best(rows, pairs)).difference == 0 or pair.detectable is None:
        return []
    size = abs(pair.difference)
    if pair.shown or pair.answer == "no larger" or pair.detectable <= size:
        return []
    if pair.about == "strategies" and not any(one.shown for one in pairs):
        return []  # the verdict says it
    digits = decimals_for(pair.means)
    return [
        f"The test is too small for the effect: {pair.first} and {pair.second} differ by {size:.{digits}f}, "
        f"while {evidence_in_words(pair)} can tell differences from {pair.detectable:.{digits}f} on (four "
        "times in five)."
    ]


def _confirmations(rows: Sequence[StrategyRow], studies: Sequence[StudyOutcome]) -> list[str]:
    found = []
    for row in rows:
        trainings = [one for study in studies if study.strategy == row.strategy for one in study.confirmations]
        if failed := sum(one.error is not None for one in trainings):
            found.append(f"{row.strategy}: {failed} of {len(trainings)} trainings of its confirmation failed.")
    confirmed = [row for row in rows if any(study.confirmed for study in row.studies)]
    if confirmed and (other := [row.strategy for row in rows if any(not study.confirmed for study in row.studies)]):
        found.append(f"Not confirmed, or not yet with every seed: {join_names(other)}; the others are.")
    digits = decimals_for(study.confirmed.mean for row in rows for study in row.studies if study.confirmed)
    too_good = [f"{row.strategy} by {row.gap:.{digits}f}" for row in rows if row.gap is not None and row.gap > 0]
    if too_good:
        found.append(
            f"Winner's curse: the search's best validation score was better than the confirmed one, "
            f"{join_names(too_good)}: at least by that, for the confirmed one is the best of several, too."
        )
    return found


def _looks(rows: Sequence[StrategyRow]) -> list[str]:
    """Of strategies without confirmation."""
    found = [row for row in rows if row.best and any(not study.confirmed for study in row.studies)]
    looks = ", ".join(f"{row.strategy} {sum(study.reports for study in row.studies)}" for row in found)
    if not found:
        return []
    return [
        f"Validation scores are the best of many looks at the rows that they are reported on ({looks}), so they are "
        "too good."
    ]
