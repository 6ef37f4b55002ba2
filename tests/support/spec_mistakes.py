"""The mistakes that are reported in a spec which was right before it was changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.support.specs import GOOD
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError


def mistakes(*overrides: str, **fields: Any) -> list[str]:
    """Returns the mistakes in GOOD with these top-level fields (None: left out) and overrides."""
    raw = {key: value for key, value in {**copy.deepcopy(dict(GOOD)), **fields}.items() if value is not None}
    with pytest.raises(SpecError) as caught:
        load_spec(raw, overrides)
    return [str(mistake) for mistake in caught.value.mistakes]


def only_mistake(*overrides: str, **fields: Any) -> str:
    """Returns the mistake in GOOD with these fields and overrides, where there is only one."""
    (mistake,) = mistakes(*overrides, **fields)
    return mistake
