"""The contract of a strategy's plans: where they search, from which seed, and what they refuse; runs no trial."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from pickle import PicklingError
from typing import Any, ClassVar

from pydantic import ValidationError

from trainables.spec import Objective
from tuning.space import Space
from tuning.strategies import Plan, Strategy, find_strategies
from tuning.testing.proposals import ENDLESS, Proposer
from tuning.testing.random_states import random_states, random_states_kept, seed_all
from tuning.testing.rules import require

OBJECTIVE = Objective(metric="accuracy", mode="max")
SPACE = Space.model_validate(
    {
        "learning_rate": {"loguniform": [1e-5, 1e-3]},
        "weight_decay": {"uniform": [0, 0.3], "step": 0.1},
        "model.hidden_dropout_prob": {"uniform": [0, 0.3]},
        "warmup_steps": {"int": [0, 500]},
        "per_device_train_batch_size": {"choice": [16, 32]},
        "adam_beta1": 0.9,
    }
)
# Spaces that some strategy cannot search, with the epochs of a trial.
AWKWARD = (
    ({"learning_rate": 1e-4}, 4.0),
    ({"learning_rate": {"loguniform": [1e-5, 1e-3]}, "num_train_epochs": {"choice": [2, 3]}}, 3.0),
    ({"learning_rate": {"loguniform": [1e-5, 1e-3]}, "optim": {"choice": ["adamw_torch", "sgd"]}}, 4.0),
    ({"optim": {"choice": ["adamw_torch", "sgd"]}}, 4.0),
    ({"data.max_length": {"logint": [16, 64]}, "lr_scheduler_type": {"choice": ["linear", "cosine"]}}, 4.0),
    ({"weight_decay": {"uniform": [0, 0.3]}}, 0.25),
)
HUGE = 10**12


class PlanContract:
    """Tests of what one strategy plans.

    A subclass states `strategy`, and where they do not suit it:

    Attributes:
        strategy: the strategy to test. It proposes at least two trials in `space`, or has no end, unless its kind has
            a single trial.
        space: a space that it can search.
        epochs: of a trial.
        refused: what it must refuse: a space, the epochs of a trial, and the path that the refusal names.
        seeded: false if its proposals are the same for every seed, as a grid's are.
        installed: false if no package ships it yet, so that `kind` does not find it.
    """

    strategy: ClassVar[Strategy]
    space: ClassVar[Space] = SPACE
    epochs: ClassVar[float] = 4.0
    refused: ClassVar[Sequence[tuple[dict[str, Any], float, str]]] = ()
    seeded: ClassVar[bool] = True
    installed: ClassVar[bool] = True

    def plan(self, seed: int = 0) -> Plan:
        """Returns a fresh plan over `space`."""
        return self.strategy.plan(self.space, OBJECTIVE, self.epochs, seed)

    def proposed(self, seed: int = 0) -> list[dict[str, Any]]:
        """Returns the values of a fresh plan's trials."""
        return Proposer(self.plan(seed), OBJECTIVE).ask()

    def test_it_is_found_by_its_kind(self) -> None:
        found = find_strategies().get(self.strategy.kind)
        expected = (type(self.strategy),) if self.installed else (type(self.strategy), None)
        require(
            found in expected,
            "a strategy is found by its kind, and no other claims that kind",
            seen=f"{self.strategy.kind!r} is {found}",
            step="name the class in an entry point of the group tunefleet.strategies; choose a kind that is free",
        )

    def test_it_parses_from_its_own_dump(self) -> None:
        dump = self.strategy.model_dump(mode="json")
        parsed = type(self.strategy).model_validate(dump)
        require(
            parsed == self.strategy,
            "a strategy is read from its own dump: a resume reads the recorded spec",
            seen=f"{parsed!r} from {dump}",
            step="keep everything that configures it in fields that JSON holds",
        )

    def test_it_refuses_an_unknown_key(self) -> None:
        require(
            not _accepts(self.strategy, "no_such_key", 3),
            "a strategy refuses a key that it does not know",
            seen="`no_such_key: 3` is read",
            step="leave `extra` of its model_config at 'forbid'",
        )

    def test_its_numbers_have_bounds(self) -> None:
        for name, schema in type(self.strategy).model_json_schema()["properties"].items():
            kinds, listed = _kinds(schema), any(part.get("type") == "array" for part in _parts(schema))
            refused_together: list[tuple[float, ...]] = [(HUGE, -HUGE)] if kinds else []
            refused_together += [(math.nan,), (math.inf,)] if "number" in kinds else []
            for values in refused_together:
                taken = [value for value in values if _accepts(self.strategy, name, [value] if listed else value)]
                require(
                    len(taken) < len(values),
                    "a number that configures a strategy has a bound, and is finite",
                    seen=f"{name} takes {' and '.join(map(str, taken))}",
                    step="give the field gt, ge, lt or le, and allow_inf_nan=False",
                )

    def test_it_can_search_an_ordinary_space(self) -> None:
        refusals = self.strategy.refusals(self.space, self.epochs)
        require(
            refusals == [],
            "a strategy does not refuse what it can search",
            seen=refusals,
            step="state a `space` and `epochs` in the contract that suit it, or refuse less",
        )

    def test_what_it_does_not_refuse_by_path_it_can_search(self) -> None:
        for raw, epochs in AWKWARD:
            space = Space.model_validate(raw)
            refusals = self.strategy.refusals(space, epochs)
            self._require_paths(refusals, raw)
            if not refusals:
                plan = self.strategy.plan(space, OBJECTIVE, epochs, 0)
                for params in Proposer(plan, OBJECTIVE).ask():
                    require(
                        space.contains(params),
                        "a strategy refuses a space that it cannot search",
                        seen=f"no refusal of {raw} with {epochs:g} epochs, and {params} proposed",
                        step="tell it in `refusals`, with the path `space.<name>`",
                    )

    def test_it_refuses_what_it_cannot_search(self) -> None:
        for raw, epochs, path in self.refused:
            refusals = self.strategy.refusals(Space.model_validate(raw), epochs)
            self._require_paths(refusals, raw)
            require(
                [found for found, _ in refusals] == [path],
                "a strategy refuses what it cannot search, and names its path alone",
                seen=f"{refusals} of {raw} with {epochs:g} epochs; the contract states {path!r}",
                step="tell it in `refusals`, or correct `refused`",
            )

    def _require_paths(self, refusals: Sequence[tuple[str, str]], raw: object) -> None:
        for path, rule in refusals:
            root = path.partition(".")[0]
            require(
                (root == "space" or root in type(self.strategy).model_fields) and rule,
                "a refusal is the path of a field, or below `space`, and the rule with the next step",
                seen=f"({path!r}, {rule!r}) of {raw}",
                step="name what its user has typed",
            )

    def test_it_proposes_values_of_the_space(self) -> None:
        proposed = self.proposed()
        for params in proposed:
            require(
                self.space.contains(params) and list(params) == list(self.space.names),
                "each proposal has a value of the space for each name, in the space's order",
                seen=params,
                step="take values from `Space.sample`, `grid`, `perturb` or `from_hyperopt`",
            )
            require(
                all(type(value) in (int, float, str, bool) for value in params.values()),
                "proposed values are plain Python ones",
                seen={name: type(value) for name, value in params.items()},
                step="turn NumPy's into int and float",
            )
        require(
            len({repr(params) for params in proposed}) > 1 or self.plan().trials == 1,
            "a strategy proposes different trials",
            seen=f"{len(proposed)} times {proposed[:1]}",
            step="draw anew for each trial; or state a strategy with more than one trial in the contract",
        )

    def test_it_proposes_as_many_trials_as_it_plans(self) -> None:
        plan = self.plan()
        number = len(Proposer(plan, OBJECTIVE).ask())
        unending = ENDLESS if plan.most_trials is None else min(ENDLESS, plan.most_trials)
        require(
            number == (unending if plan.trials is None else plan.trials) > 0,
            "a plan proposes as many trials as it says, or goes on without end if it says None",
            seen=f"{number} proposals, `trials` is {plan.trials}",
            step="mend `trials` of the plan, or the searcher's end",
        )

    def test_the_same_seed_gives_the_same_proposals(self) -> None:
        first, again = self.proposed(seed=3), self.proposed(seed=3)
        require(
            first == again,
            "the same arguments give the same proposals",
            seen=_difference(first, again),
            step="draw everything from `random.Random(seed)`, made in `plan`",
        )

    def test_another_seed_gives_other_proposals(self) -> None:
        first, other = self.proposed(seed=3), self.proposed(seed=4)
        require(
            (first != other) == self.seeded,
            "another seed gives other proposals, but for a strategy that draws nothing",
            seen=f"{'the same' if first == other else 'others'} with another seed, and `seeded` is {self.seeded}",
            step="draw from the seed; or state `seeded = False` in the contract of a strategy that draws nothing",
        )

    def test_planning_leaves_the_global_random_states_alone(self) -> None:
        with random_states_kept():
            seed_all(1)
            before = random_states()
            self.plan()
            require(
                random_states() == before,
                "planning changes no global random state: a training beside it would change with it",
                seen="`random` or `numpy.random` is in another state",
                step="draw from generators of its own",
            )

    def test_global_random_states_do_not_reach_the_proposals(self) -> None:
        drawn = []
        with random_states_kept():
            for state in (1, 2):
                seed_all(state)
                drawn.append(self.proposed())
        require(
            drawn[0] == drawn[1],
            "proposals do not depend on global random states",
            seen=_difference(*drawn),
            step="draw from `random.Random(seed)`, made in `plan`",
        )

    def test_planning_starts_no_ray(self) -> None:
        import ray

        before = ray.is_initialized()
        self.plan()
        require(
            ray.is_initialized() == before,
            "planning starts no Ray: specs are checked on machines without one",
            seen="Ray runs after `plan`",
            step="leave to the run what needs Ray",
        )

    def test_each_plan_has_a_scheduler_and_a_searcher_of_its_own(self) -> None:
        from ray.tune.schedulers import TrialScheduler

        one, other = self.plan(), self.plan()
        require(
            isinstance(one.scheduler, TrialScheduler),
            "the scheduler of a plan is one of Tune's",
            seen=type(one.scheduler),
            step="derive it from ray.tune.schedulers.TrialScheduler",
        )
        shared = one.scheduler is other.scheduler or (one.searcher is not None and one.searcher is other.searcher)
        require(
            not shared,
            "two plans share nothing: each is of one study",
            seen="the same scheduler or searcher in two plans",
            step="make both in `plan`",
        )

    def test_a_copy_of_a_plan_proposes_the_same(self) -> None:
        from ray import cloudpickle

        rule = "a strategy and its plan can be pickled, and the copies propose the same"
        step = "keep its state in attributes; no files, threads or locks"
        try:
            strategy = cloudpickle.loads(cloudpickle.dumps(self.strategy))
            plan = cloudpickle.loads(cloudpickle.dumps(strategy.plan(self.space, OBJECTIVE, self.epochs, 0)))
        except (TypeError, PicklingError) as error:
            return require(False, rule, seen=error, step=step)
        first, again = self.proposed(), Proposer(plan, OBJECTIVE).ask()
        return require(first == again, rule, seen=_difference(first, again), step=step)

    def test_a_search_that_is_restored_goes_on_as_if_it_had_not_been_interrupted(self, tmp_path: Path) -> None:
        whole = self.proposed()
        before = Proposer(self.plan(), OBJECTIVE)
        first = before.ask(most=len(whole) // 2)
        before.save(tmp_path)
        after = Proposer(self.plan(), OBJECTIVE)
        after.restore(tmp_path, before.trials)
        rest = after.ask()
        require(
            first + rest == whole,
            "a searcher that is restored goes on as if it had not been interrupted",
            seen=f"after {len(first)} of {len(whole)} trials: {_difference(whole[len(first) :], rest)}",
            step="write all that decides the next proposal in its `save`, and read it in its `restore`",
        )


def _parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields a JSON schema and its parts."""
    yield schema
    for part in (*schema.get("anyOf", ()), *([schema["items"]] if isinstance(schema.get("items"), dict) else ())):
        yield from _parts(part)


def _kinds(schema: dict[str, Any]) -> set[str]:
    return {str(part.get("type")) for part in _parts(schema)} & {"number", "integer"}


def _accepts(strategy: Strategy, name: str, value: Any) -> bool:
    """True if the strategy accepts `value` for the field `name`."""
    try:
        type(strategy).model_validate({**strategy.model_dump(), name: value})
    except ValidationError:
        return False
    return True


def _difference(one: Sequence[object], other: Sequence[object]) -> str:
    """Describes the first difference between two lists of proposals."""
    if len(one) != len(other):
        return f"{len(one)} proposals and {len(other)}"
    return next((f"{a}, then {b}" for a, b in zip(one, other, strict=True) if a != b), "no difference")
