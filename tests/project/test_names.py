"""One thing has one name: no public function or class is defined in two modules of the product."""

from __future__ import annotations

from functools import cache

import pytest

from tests.project.measure_house import ROOT, duplicated_names

pytestmark = pytest.mark.unit

# Each with the reason why two modules may define it.
ALLOWED = {
    "main": "the entry point of a program; the fork server's is one of its own",
    "compare": "`tunefleet.compare` is `tuning.comparison.compare` for names and folders, too",
    "compare_across": "`tunefleet.compare_across` is `tuning.across.compare_across` for names and folders, too",
    "report": "`trainables.report` reports from a training loop, `tunefleet.report` writes the page; users call both",
}

duplicated = cache(duplicated_names)  # both tests parse the whole product


def test_no_public_name_is_defined_twice() -> None:
    found = {name: modules for name, modules in duplicated(ROOT).items() if name not in ALLOWED}
    assert found == {}


def test_every_name_that_is_allowed_is_needed() -> None:
    assert set(ALLOWED) <= set(duplicated(ROOT))
