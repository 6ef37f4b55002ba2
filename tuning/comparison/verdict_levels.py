"""The significance level of each verdict of an experiment to which seeds are added after a verdict was seen.

Testing after each seed and stopping at the first significant difference would be wrong in 15 to 23 % of experiments. So
the verdicts that the spec plans (`verdicts`) share the 5 % equally. All unplanned verdicts after them share 1 %, each
taking half of what is left. By Bonferroni's inequality this holds for any dependence between verdicts: for strategies
that join later, for t-tests with the error of the rows added, and for any number of seeds between verdicts, if it does
not depend on the scores. Pocock's bound (Biometrika 64, 1977) for equally spaced tests of a normal mean would give each
of five verdicts 0.016 instead of 0.010. That of O'Brien and Fleming (Biometrics 35, 1979) would give the first almost
nothing, so that three seeds could show nothing. Intervals at each verdict's level are repeated confidence intervals
(Jennison and Turnbull, JRSS B 51, 1989).
"""

from __future__ import annotations

from collections.abc import Sequence

from tuning.outcome import StudyOutcome
from tuning.outcome.attributes import VERDICT, VERDICTS

ALPHA = 0.05  # familywise error rate of all planned verdicts
UNPLANNED = 0.01  # of all others


def level_share(number: int, planned: int) -> float:
    """Returns the share of `ALPHA` of the verdict with that number (1, 2, ...)."""
    return 1 / planned if number <= planned else UNPLANNED / ALPHA / 2 ** (number - planned)


def verdict_number(studies: Sequence[StudyOutcome]) -> tuple[int, int]:
    """Returns the number of the verdict that `studies` lead to, and how many are planned."""
    return _largest(studies, VERDICT), _largest(studies, VERDICTS)


def _largest(studies: Sequence[StudyOutcome], attribute: str) -> int:
    """Returns the largest value of an attribute; 1 if no study has it, as in an experiment that was not extended."""
    found = (study.attributes.get(attribute) for study in studies)
    return max((value for value in found if isinstance(value, int)), default=1)


def verdict_caveats(number: int, planned: int) -> list[str]:
    """Returns the caveat about a verdict that is not the only one; [] for a single verdict."""
    level = f"{ALPHA * level_share(number, planned):.2g}"
    if number > planned:
        return [
            f"Verdict {number}, where {planned} {'was' if planned == 1 else 'were'} planned: seeds or strategies were "
            f"added after test scores had been seen. Its significance level is {level}, so that unplanned verdicts "
            f"are wrong in at most {UNPLANNED:.0%} of experiments, beside the {ALPHA:.0%} of planned ones; p and "
            "intervals are corrected for that. If an experiment is to be extended, set before its first run: "
            f"`verdicts: {number}`."
        ]
    if planned == 1:
        return []
    return [
        f"Verdict {number} of {planned} that are planned while the experiment is extended: its significance level is "
        f"{level}, so that any of them is wrong in at most {ALPHA:.0%} of experiments; p and intervals are "
        "corrected for that."
    ]
