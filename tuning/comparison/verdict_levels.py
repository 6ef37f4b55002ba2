"""What each verdict of an experiment may claim falsely, where seeds are added after one that was seen.

Looking after each seed and stopping at the first claim would claim falsely in 15 to 23 % of experiments. So the
verdicts that the spec plans (`verdicts`) share the 5 % in equal parts, and all that come unplanned after them have 1 %
together, each half of what was left. By Bonferroni's inequality that holds whatever the verdicts have in common: for
strategies that join later, for t-tests on few seeds with the error of the rows added, for any number of seeds between
two verdicts that does not follow from the scores. Pocock's bound (Biometrika 64, 1977), for equally spaced looks at a
normal mean, would give each of five 0.016 in place of 0.010; O'Brien and Fleming's (Biometrics 35, 1979) next to
nothing to the first, so that three seeds could tell nothing. Intervals at each verdict's share are repeated confidence
intervals (Jennison and Turnbull, JRSS B 51, 1989).
"""

from __future__ import annotations

from collections.abc import Sequence

from tuning.outcome import StudyOutcome
from tuning.outcome.attributes import VERDICT, VERDICTS

ALPHA = 0.05  # familywise, over all verdicts that are planned
UNPLANNED = 0.01  # over all others


def level_share(number: int, planned: int) -> float:
    """What the verdict of that number (1, 2, ...) has of `ALPHA`."""
    return 1 / planned if number <= planned else UNPLANNED / ALPHA / 2 ** (number - planned)


def verdict_number(studies: Sequence[StudyOutcome]) -> tuple[int, int]:
    """The number of the verdict that `studies` come to, and how many are planned."""
    return _largest(studies, VERDICT), _largest(studies, VERDICTS)


def _largest(studies: Sequence[StudyOutcome], attribute: str) -> int:
    """Of `attribute`, which studies of an experiment that never grew have not got."""
    found = (study.attributes.get(attribute) for study in studies)
    return max((value for value in found if isinstance(value, int)), default=1)


def verdict_caveats(number: int, planned: int) -> list[str]:
    """The caveat about a verdict that is not the only one; empty for one alone."""
    level = f"{ALPHA * level_share(number, planned):.2g}"
    if number > planned:
        return [
            f"Verdict {number}, where {planned} {'was' if planned == 1 else 'were'} planned: seeds or strategies were "
            f"added after test scores had been seen. It claims at a level of {level}, so that unplanned verdicts "
            f"claim falsely in at most {UNPLANNED:.0%} of experiments, beside the {ALPHA:.0%} of the planned; p and "
            "intervals are corrected for that. An experiment that is to grow says so before its first run: "
            f"`verdicts: {number}`."
        ]
    if planned == 1:
        return []
    return [
        f"Verdict {number} of {planned} that are planned while the experiment grows: it claims at a level of "
        f"{level}, so that all of them claim falsely in at most {ALPHA:.0%} of experiments; p and intervals are "
        "corrected for that."
    ]
