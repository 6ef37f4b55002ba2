"""Caveats about studies that ran with different versions of the libraries, the code or the data."""

from __future__ import annotations

from collections.abc import Sequence

from tuning.comparison.formatting import join_names
from tuning.outcome import StudyOutcome
from tuning.outcome.attributes import MADE_WITH, MIXED, attribute_label

FINGERPRINT = "data_fingerprint"  # the attribute of a study that identifies its rows and labels


def version_caveats(studies: Sequence[StudyOutcome]) -> list[str]:
    """Returns a sentence for each study with mixed versions, and one for versions that differ between studies."""
    found = [
        f"{_name(study)} ran with more than one version ({study.attributes[MIXED]}): its trials may not compare."
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
            versions = ", ".join(f"{value} ({join_names(those)})" for value, those in by.items())
            differing.append(f"{attribute_label(name)} {versions}")
    if differing:
        found.append(f"Studies ran with different versions: {'; '.join(differing)}.")
    return [*found, *_other_data(studies)]


def _other_data(studies: Sequence[StudyOutcome]) -> list[str]:
    """Reports studies with different rows, unless each search seed has its own split."""
    by: dict[str, list[str]] = {}
    for study in studies:
        if FINGERPRINT in study.attributes and study.data is not None and study.data.cuts == 1:
            by.setdefault(str(study.attributes[FINGERPRINT]), []).append(_name(study))
    if len(by) < 2:
        return []
    prints = ", ".join(f"{value} ({join_names(those)})" for value, those in by.items())
    return [f"The data have changed between studies, so their scores may not compare: fingerprint {prints}."]


def _name(study: StudyOutcome) -> str:
    return f"{study.strategy} seed {study.seed}"
