"""The test score of a final model before anybody has seen it, packed in the store so that nobody reads it by chance.

This is no secrecy: whoever unpacks the score has evaluated on the test split.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from trainables.spec import Value
from trainables.training import Scores
from tuning.spec.store_url import StoreError


class HiddenScore(NamedTuple):
    """The score, with what else the model's card needs when it is shown."""

    scores: Scores
    provenance: Mapping[str, Value]
    label_names: tuple[str, ...]  # by class id; empty for regression


def pack_score(score: HiddenScore) -> str:
    """Return `score` as a text that `unpack_score` reads."""
    plain = json.dumps({**score._asdict(), "scores": score.scores._asdict()})
    return base64.b64encode(zlib.compress(plain.encode(), 9)).decode()


def unpack_score(packed: str) -> HiddenScore:
    """Read what `pack_score` has made.

    Raises:
        StoreError: it is damaged.
    """
    try:
        plain = json.loads(zlib.decompress(base64.b64decode(packed, validate=True)))
        scores = plain["scores"]
        rows = {name: scores[name] and tuple(scores[name]) for name in ("labels", "predictions")}
        return HiddenScore(Scores(**{**scores, **rows}), plain["provenance"], tuple(plain["label_names"]))
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise StoreError(f"the hidden test score is damaged: {error!r}; train the model again (--force)") from error
