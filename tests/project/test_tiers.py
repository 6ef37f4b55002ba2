"""The tiers of the tests hold: one for each test, and no process from those that start none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests import tiers

pytestmark = pytest.mark.unit


def item(name: str, *marks: str) -> pytest.Item:
    """Stands for a collected test, as far as the tiers read it."""
    found = [SimpleNamespace(name=mark) for mark in marks]
    return cast(pytest.Item, SimpleNamespace(nodeid=f"tests/test_x.py::{name}", iter_markers=lambda: iter(found)))


def test_a_collection_in_which_each_test_bears_one_tier_passes() -> None:
    tiers.check([item("one", "unit"), item("other", "system", "smoke"), item("twice", "ray", "ray", "parametrize")])


def test_tests_without_a_tier_or_with_two_are_named() -> None:
    with pytest.raises(pytest.UsageError) as caught:
        tiers.check([item("fine", "unit"), item("bare", "smoke"), item("both", "tune", "ray")])
    told = str(caught.value).splitlines()
    assert told[1:] == ["  tests/test_x.py::bare: none", "  tests/test_x.py::both: ray, tune"]
    assert "unit, tune, ray, system" in told[0]


def test_of_many_tests_without_a_tier_the_first_are_named_and_the_others_counted() -> None:
    with pytest.raises(pytest.UsageError, match="and 3 more"):
        tiers.check([item(f"t{number}") for number in range(tiers.SLOWEST + 3)])


@pytest.mark.parametrize("tier", tiers.ALONE)
@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        lambda: os.system("true"),
        lambda: os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {}),
    ],
    ids=["subprocess", "system", "spawn"],
)
def test_a_test_of_a_tier_without_processes_that_starts_one_fails(tier: str, start: Any) -> None:
    with tiers.kept_to_its_tier(item("starts", tier)), pytest.raises(tiers.StartedAProcess, match=f"of `{tier}`"):
        start()


def test_what_is_caught_of_it_is_reported_in_the_name_of_the_test(request: pytest.FixtureRequest) -> None:
    """The hook is the one in which this test runs."""
    with pytest.raises(tiers.StartedAProcess, match=request.node.name):
        os.system("true")


@pytest.mark.parametrize("tier", [tier for tier in tiers.TIERS if tier not in tiers.ALONE])
def test_a_test_of_another_tier_may_start_processes(tier: str) -> None:
    with tiers.kept_to_its_tier(item("starts", tier)):
        assert os.system("true") == 0


@pytest.mark.parametrize(
    ("text", "expression", "left_out"),
    [
        ("pytestmark = pytest.mark.system", "unit", True),
        ("pytestmark = pytest.mark.system", "unit and not smoke", True),
        ("pytestmark = pytest.mark.system", "system and smoke", False),
        ("@pytest.mark.ray ... @pytest.mark.unit", "unit", False),
        ("pytestmark = pytest.mark.system", "unit or system", False),
        ("pytestmark = pytest.mark.system", "smoke", False),
        ("pytestmark = pytest.mark.system", "", False),
        ("pytestmark = pytest.mark.slow", "unit", False),  # its tests have no tier: it is collected, and that is told
    ],
)
def test_files_without_a_test_of_the_tier_that_is_asked_for_are_not_imported(
    tmp_path: Path, text: str, expression: str, left_out: bool
) -> None:
    file = tmp_path / "test_x.py"
    file.write_text(text)
    assert tiers.is_of_others(file, expression) is left_out


def test_the_slowest_tests_are_reported_with_their_tier_the_slowest_first() -> None:
    rows = [("unit", "a", 1.0), ("ray", "b", 30.25), ("tune", "c", 2.0)]
    assert tiers.slowest(rows, count=2) == ["   30.2 s  ray     b", "    2.0 s  tune    c"]


def test_every_tier_is_a_marker_of_this_project(pytestconfig: pytest.Config) -> None:
    known = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    assert tiers.TIERS.keys() <= known
    assert "smoke" in known
