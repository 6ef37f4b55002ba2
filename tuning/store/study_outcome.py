"""Builds the outcome of a study from its records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainables.reporting import Report
from trainables.spec import Goal
from trainables.tasks.summary import DataSummary
from tuning.budget import BudgetUse, Limit, Price, ResourceUsage
from tuning.outcome import Exploit, NodeLoss, StudyOutcome, StudyState, TrialOutcome
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.store.checksums import verify_checksum
from tuning.store.layout import OPTUNA_STATES
from tuning.store.selection_records import decode_confirmations, decode_finals, decode_front_tests, decode_test
from tuning.store.trial_events import REPLACED, Event, TrialHistory, decode_events, largest_usage, reports_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def study_outcome(
    identity: Mapping[str, Any], attributes: Mapping[str, Any], trials: Sequence[FrozenTrial]
) -> StudyOutcome:
    """Builds the outcome of a study.

    Args:
        identity: the attribute that `StudyStore.open_study` wrote.
        attributes: all attributes of the study, without checksums.
        trials: Optuna's trials of the study.

    Raises:
        DamagedRecord: the checksum of a trial's attribute differs.
    """
    latest = {frozen.user_attrs["trial_id"]: frozen for frozen in trials}  # of a trial that was reopened, its last copy
    # Trials that an interruption replaced come last, so that the others keep the numbers of the log.
    latest = dict(sorted(latest.items(), key=lambda one: str(one[1].user_attrs.get("error")).startswith(REPLACED)))
    price = identity.get("price")
    histories = {trial_id: decode_events(frozen.user_attrs) for trial_id, frozen in latest.items()}
    newest = largest_usage(held for history in histories.values() for held in history.held)
    wall_seconds, slot_seconds, cost = _held(attributes, newest or ResourceUsage())
    outcome = StudyOutcome(
        strategy=identity["strategy"],
        kind=identity["kind"],
        seed=identity["seed"],
        state=StudyState(attributes["state"]),
        metric=identity["metric"],
        mode=identity["mode"],
        trials=tuple(
            _trial_outcome(frozen, histories[trial_id], number, attributes.get(f"checkpoints:{trial_id}", []), identity)
            for number, (trial_id, frozen) in enumerate(latest.items())
        ),
        wall_seconds=wall_seconds,
        slots=identity["slots"],
        devices_per_trial=identity["devices_per_trial"],
        device=identity["device"],
        test=decode_test(attributes.get("test")),
        attributes={**identity["attributes"], **attributes.get("provenance", {})},
        node_losses=tuple(NodeLoss(*loss) for loss in attributes.get("node_losses", [])),
        slot_seconds=slot_seconds,
        cost=cost,
        confirmations=decode_confirmations(attributes),
        finals=decode_finals(attributes.get("finals", [])),
        price=Price(**price) if price else None,
        front_tests=decode_front_tests(attributes.get("front_tests", [])),
        goal=Goal.model_validate(identity["goal"]) if "goal" in identity else None,
        test_memory=_test_memory(attributes.get("test_memory")),
        data=DataSummary.model_validate(attributes["data"]) if "data" in attributes else None,
    )
    return replace(outcome, budget=_budget_use(outcome, identity.get("limit"), attributes.get("limit_reached", False)))


def _test_memory(stored: Mapping[str, Any] | None) -> EarlierEvaluations | None:
    if stored is None:
        return None
    names = {name: tuple(stored[name]) for name in ("experiments", "trained_from")}
    return EarlierEvaluations(**{**stored, **names})


def _held(attributes: Mapping[str, Any], newest: ResourceUsage) -> tuple[float, float | None, float | None]:
    """Returns wall, slot and device-seconds over all runs; None where an older version did not record them.

    Args:
        attributes: of the study.
        newest: the usage with the newest report. If the driver was killed, it may exceed the usage in `attributes`.
    """
    wall_seconds = float(attributes.get("wall_seconds", 0.0))
    if newest.wall_seconds > wall_seconds:
        return newest.wall_seconds, newest.slot_seconds, newest.device_seconds
    return wall_seconds, attributes.get("slot_seconds"), attributes.get("device_seconds")


def _budget_use(study: StudyOutcome, limit: list[Any] | None, reached: bool) -> BudgetUse | None:
    if limit is None:
        return None
    unit, amount = Limit(*limit)
    spent = {
        "device_seconds": study.device_seconds,
        "epochs": study.epochs_trained,
        "wall_seconds": study.wall_seconds,
    }
    return BudgetUse(unit, amount, spent[unit], reached)


def _trial_outcome(
    frozen: FrozenTrial,
    history: TrialHistory,
    number: int,
    checkpoints: list[tuple[float, int, str]],
    identity: Mapping[str, Any],
) -> TrialOutcome:
    events, _, held = history
    reports = reports_of(events)
    sign = 1 if identity["mode"] == "max" else -1

    def score(entry: tuple[float, int, str]) -> float:
        _, count, _ = entry
        return sign * reports[count - 1].metrics[identity["metric"]] if 0 < count <= len(reports) else -math.inf

    return TrialOutcome(
        id=frozen.user_attrs["trial_id"],
        number=number,
        state=OPTUNA_STATES[frozen.state.name],
        params=verify_checksum("params", frozen.user_attrs["params"]),
        reports=reports,
        lineage=tuple(event for event in events if isinstance(event, Exploit)),
        # After an exploit a trial may pass an epoch a second time; the checkpoint with the better score wins.
        checkpoints={entry[0]: entry[2] for entry in sorted(checkpoints, key=score)},
        error=frozen.user_attrs.get("error"),
        costs=_costs(events, held),
    )


def _costs(events: Sequence[Event], held: Sequence[ResourceUsage | None]) -> tuple[float | None, ...]:
    """Returns the study's device-seconds by each report; () if none is recorded."""
    costs = tuple(
        None if then is None else then.device_seconds
        for event, then in zip(events, held, strict=True)
        if isinstance(event, Report)
    )
    return () if set(costs) <= {None} else costs
