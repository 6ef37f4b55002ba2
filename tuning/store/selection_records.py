"""Encodes confirmations, test scores and final models as JSON for a study's attributes, and decodes them.

Predictions are packed, so that 25,000 rows of two classes take some kilobytes: the numbers as bytes of the smallest
integer type that holds them (float64 if they are no integers), deflated, in base64.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from tuning.outcome import Confirmation, FinalModel, ScoredRows, Stretch, TestScore
from tuning.store.trial_events import json_params

CONFIRMATION = "confirmation:"


def confirmation_key(confirmation: Confirmation) -> str:
    """Returns the attribute name of a confirmation, by rank and training seed. Recording it again replaces it."""
    return f"{CONFIRMATION}{confirmation.rank:04d}:{confirmation.seed}"


def encode_confirmation(confirmation: Confirmation) -> dict[str, Any]:
    """Encodes a confirmation as JSON."""
    plain = _shallow(confirmation)
    schedule = [(start, end, json_params(params)) for start, end, params in confirmation.schedule]
    scores = {name: _finite(plain[name]) for name in ("validation", "test")}
    return {**plain, **scores, "schedule": schedule, "rows": _packed(confirmation.rows)}


def decode_confirmations(attributes: Mapping[str, Any]) -> tuple[Confirmation, ...]:
    """Decodes all confirmations among a study's attributes, in order of rank, then seed."""
    found = [_confirmation(stored) for name, stored in attributes.items() if name.startswith(CONFIRMATION)]
    return tuple(sorted(found, key=lambda confirmation: (confirmation.rank, confirmation.seed)))


def _confirmation(stored: Mapping[str, Any]) -> Confirmation:
    read = {
        "schedule": tuple(Stretch(*stretch) for stretch in stored["schedule"]),
        "validation": _read(stored["validation"]),
        "test": _read(stored["test"]),
        "rows": _unpacked(stored["rows"]),
    }
    return Confirmation(**{**stored, **read})


def encode_test(score: TestScore) -> dict[str, Any]:
    """Encodes a test score as JSON."""
    plain = _shallow(score) | {"params": json_params(score.params), "metrics": _finite(score.metrics)}
    return {**plain, "scored": _packed(score.scored)}


def decode_test(stored: Mapping[str, Any] | None) -> TestScore | None:
    """Decodes a test score; None if there is none. Records of older versions have no rows."""
    if not stored:
        return None
    return TestScore(**{**stored, "metrics": _read(stored["metrics"]), "scored": _unpacked(stored.get("scored"))})


def decode_front_tests(stored: Sequence[Mapping[str, Any]]) -> tuple[TestScore, ...]:
    """Decodes the test scores of a front, in the order in which they were recorded."""
    return tuple(score for one in stored if (score := decode_test(one)) is not None)


def encode_final(model: FinalModel) -> dict[str, Any]:
    """Encodes a final model as JSON."""
    return {**asdict(model), "metrics": _finite(model.metrics)}


def decode_finals(stored: Sequence[Mapping[str, Any]]) -> tuple[FinalModel, ...]:
    """Decodes final models, in the order in which they were recorded."""
    return tuple(FinalModel(**{**model, "metrics": _read(model["metrics"])}) for model in stored)


def _shallow(record: Confirmation | TestScore) -> dict[str, Any]:
    """Returns the fields unchanged: `asdict` would copy every row."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _finite(metrics: Mapping[str, float] | None) -> dict[str, float | str] | None:
    """Converts NaN and infinity to texts: JSON has no such numbers."""
    if metrics is None:
        return None
    return {name: float(v) if math.isfinite(v) else str(float(v)) for name, v in metrics.items()}


def _read(metrics: Mapping[str, float | str] | None) -> dict[str, float] | None:
    return None if metrics is None else {name: float(value) for name, value in metrics.items()}


def _packed(rows: ScoredRows | None) -> dict[str, list[str]] | None:
    if rows is None:
        return None
    return {"labels": _bytes(rows.labels), "predictions": _bytes(rows.predictions)}


def _unpacked(stored: Mapping[str, Sequence[str]] | None) -> ScoredRows | None:
    return None if stored is None else ScoredRows(_numbers(*stored["labels"]), _numbers(*stored["predictions"]))


def _bytes(values: Sequence[float]) -> list[str]:
    """Packs numbers; returns their NumPy type and the content."""
    given = np.asarray(values, dtype="<f8")
    kind = np.dtype("<f8")
    if given.size and (given == np.round(given)).all() and np.abs(given).max() < 2**53:
        # Negative numbers, such as -1, need the signed type.
        kind = np.result_type(np.min_scalar_type(int(given.min())), np.min_scalar_type(int(given.max())))
    content = given.astype(kind.newbyteorder("<"))
    return [content.dtype.str, base64.b64encode(zlib.compress(content.tobytes(), 9)).decode()]


def _numbers(kind: str, content: str) -> tuple[float, ...]:
    found = np.frombuffer(zlib.decompress(base64.b64decode(content)), dtype=kind)
    return tuple(found.astype(float).tolist())
