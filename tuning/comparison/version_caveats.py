"""What studies were made with, where that is not one thing: versions of the libraries, the code, the data."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.comparison.formatting import join_names
from tuning.outcome import StudyOutcome
from tuning.outcome.attributes import MADE_WITH, MIXED, attribute_label

FINGERPRINT = "data_fingerprint"  # the attribute of a study that tells its rows and labels


def version_caveats(studies: Sequence[StudyOutcome]) -> list[str]:
    """A sentence for each study that went on with something else, and one for what differs between studies."""
    found = [
        f"{_name(study)} was made with more than one version ({study.attributes[MIXED]}): its trials may not compare."
        for study in studies
        if MIXED in study.attributes
    ]
    differing = []
    for name in MADE_WITH:
        by: dict[str, list[str]] = {}
        for study in studies:
            if name in study.attributes:
                by.setdefault(str(study.attributes[name]), []).append(_name(study))
        if len(by) > 1:
            told = ", ".join(f"{value} ({join_names(those)})" for value, those in by.items())
            differing.append(f"{attribute_label(name)} {told}")
    if differing:
        found.append(f"Studies made with different versions: {'; '.join(differing)}.")
    return [*found, *_other_data(studies)]


def _other_data(studies: Sequence[StudyOutcome]) -> list[str]:
    """Studies whose rows are others, though no search seed has a cut of its own."""
    by: dict[str, list[str]] = {}
    for study in studies:
        if FINGERPRINT in study.attributes and study.data is not None and study.data.cuts == 1:
            by.setdefault(str(study.attributes[FINGERPRINT]), []).append(_name(study))
    if len(by) < 2:
        return []
    told = ", ".join(f"{value} ({join_names(those)})" for value, those in by.items())
    return [f"The data have changed between studies, so their scores may not compare: fingerprint {told}."]


def _name(study: StudyOutcome) -> str:
    return f"{study.strategy} seed {study.seed}"
