"""Which seeds and strategies may be added to an experiment's spec, and how its verdicts are counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.simulated_studies import long_experiment
from trainables.errors import InputError
from tuning.errors import RunFolderError
from tuning.extended_spec import extend_spec, has_test_score
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.models import ExperimentSpec, Extension
from tuning.store.study_store import StudyStore

TWO = [{"kind": "grid", "points": 2}, {"kind": "pbt", "population": 3}]
RANDOM = {"kind": "random", "trials": 3}


def experiment(folder: Path, **changed: Any) -> ExperimentSpec:
    return long_experiment(folder, **{"strategies": TWO, "seeds": [0, 1, 2], "epochs": 2, "test": True, **changed})


def more(spec: ExperimentSpec, *, judged: bool = True, **changed: Any) -> ExperimentSpec:
    return extend_spec(spec, load_spec(spec, changed), judged=judged)


@pytest.mark.unit
def test_an_extended_spec_has_what_is_added_behind_what_was_there_and_keeps_its_digest(tmp_path: Path) -> None:
    spec = experiment(tmp_path)
    grown = more(spec, seeds=[4, 3, 2, 1, 0], strategies=[*TWO, RANDOM])
    assert grown.seeds == (0, 1, 2, 4, 3)
    assert [strategy.name for strategy in grown.strategies] == ["grid", "pbt", "random"]
    assert grown.extended == (Extension(seeds=3, strategies=2, judged=True),)
    again = more(grown, seeds=[0, 1, 2, 4, 3, 7])
    assert (again.seeds[-1], again.extended[1].seeds, again.extended[1].strategies) == (7, 5, 3)
    assert spec.digest() == grown.digest() == again.digest() == load_spec({**again.plain()}).digest()
    assert load_spec(spec, {"seeds": [0, 1, 2, 3, 4]}).digest() != spec.digest()
    assert not {"verdicts", "extended"} & spec.plain().keys()  # specs of before read as they did


@pytest.mark.unit
def test_a_verdict_counts_where_it_may_have_been_seen(tmp_path: Path) -> None:
    spec = experiment(tmp_path)
    unseen = more(spec, judged=False, seeds=[0, 1, 2, 3])
    seen = more(unseen, seeds=[0, 1, 2, 3, 4])
    assert [one.verdict_number for one in (spec, unseen, seen, more(seen, seeds=[0, 1, 2, 3, 4, 5]))] == [1, 1, 2, 3]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"seeds": [0, 2, 3]}, r"seeds: .*leaves out 1, .*keep those of before: seeds=\[0, 1, 2, ...\]"),
        ({"seeds": [2, 1, 0]}, r"seeds: .*nothing is added; name more seeds than \[0, 1, 2\], or .*tunefleet resume"),
        ({"seeds": [0, 1, 2, 3], "epochs": 9}, r"epochs: 9.*: cannot change"),
        ({"seeds": [0, 1, 2, 3], "verdicts": 2}, r"verdicts: 2: cannot change"),
        ({"strategies.1.population": 8}, r"strategies.1: 'pbt': pbt has searched as it was.*strategies.2=\{kind: pbt"),
        ({"strategies": TWO[:1], "seeds": [0, 1, 2, 3]}, r"strategies.1: '': pbt has searched as it was"),
    ],
)
def test_an_extension_adds_and_changes_nothing_else(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        more(experiment(tmp_path), **changed)


@pytest.mark.unit
def test_a_seed_that_confirmations_have_trained_with_is_not_added(tmp_path: Path) -> None:
    spec = experiment(tmp_path, confirm={"top": 2, "seeds": 3})
    assert more(spec, seeds=[0, 1, 2, 900]).seeds[-1] == 900
    with pytest.raises(InputError, match=r"training seed of the confirmations \(1003, 1004, 1005\); choose smaller"):
        more(spec, seeds=[0, 1, 2, 1004])


@pytest.mark.unit
def test_a_list_of_a_spec_grows_by_a_value_behind_its_last(tmp_path: Path) -> None:
    spec = load_spec(experiment(tmp_path), ["strategies.2={kind: random, trials: 3}", "seeds.3=5"])
    assert (spec.strategies[2].kind, spec.seeds) == ("random", (0, 1, 2, 5))


@pytest.mark.unit
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, r"until: 'decided': adds seeds after the first .*; plan more, such as verdicts: 5"),
        ({"verdicts": 3, "seeds": [0, 1]}, r"until: .* fewer than 3 seeds; name three seeds or more"),
        ({"verdicts": 3, "test": False}, r"until: .* judges by test scores"),
    ],
)
def test_until_decided_needs_verdicts_to_give(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        experiment(tmp_path, until="decided", **changed)


@pytest.mark.unit
def test_where_nothing_is_recorded_it_is_not_known_what_was_seen(tmp_path: Path) -> None:
    """The run may have had another store, in a variable that is not set now."""
    url = f"sqlite:///{tmp_path}/study.db"
    told = r"name: mine: nothing of it is recorded in .*TUNEFLEET_STORE.*resume` first"
    with pytest.raises(RunFolderError, match=told):
        has_test_score("mine", url)
    assert not (tmp_path / "study.db").exists()
    StudyStore(url).check()
    with pytest.raises(RunFolderError, match=told):
        has_test_score("mine", url)
