"""Other versions, other code or an edited spec between a run and its resume."""

from __future__ import annotations

from benchmarks.faults.by_tests import checked
from benchmarks.faults.row import Row, Settings

NUMBER = 12


def measure(settings: Settings) -> Row:
    """As the tests do it."""
    return checked(
        "upgrade",
        "the recorded versions, the digest of a trainable and spec.yaml changed before a resume",
        "nothing is compared (read, not measured)",
        [
            "tests/test_damage.py::test_a_spec_that_is_not_as_it_was_written_is_told_with_what_differs",
            "tests/test_damage.py::test_a_resume_with_other_versions_is_asked_for_and_then_said",
            "tests/test_damage.py::test_the_code_is_that_of_the_package_and_of_a_trainable_of_ones_own",
        ],
        "what differs is named and --force asked for; with it the mixture is recorded and a caveat",
    )
