"""The test score of a final model before anybody has looked at it: kept in the store, packed so that no reader of a
record meets it by chance. That is no secrecy; whoever unpacks it has looked."""

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
    """What the model's card tells when the score is shown."""

    scores: Scores
    provenance: Mapping[str, Value]
    label_names: tuple[str, ...]  # by class id; empty for regression


def sealed(score: HiddenScore) -> str:
    """As `unsealed` reads it."""
    plain = json.dumps({**score._asdict(), "scores": score.scores._asdict()})
    return base64.b64encode(zlib.compress(plain.encode(), 9)).decode()


def unsealed(packed: str) -> HiddenScore:
    """Raises:
    StoreError: it is damaged.
    """
    try:
        plain = json.loads(zlib.decompress(base64.b64decode(packed, validate=True)))
        told = plain["scores"]
        rows = {name: told[name] and tuple(told[name]) for name in ("labels", "predictions")}
        return HiddenScore(Scores(**{**told, **rows}), plain["provenance"], tuple(plain["label_names"]))
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise StoreError(f"the hidden test score is damaged: {error!r}; train the model again (--force)") from error
