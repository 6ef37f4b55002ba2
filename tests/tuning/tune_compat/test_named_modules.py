"""Which modules of ours a snapshot names that are not here, told from its bytes."""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from ray import cloudpickle
from ray.tune.utils.serialization import TuneFunctionEncoder

from tuning.outcome import Exploit
from tuning.tune_compat.named_modules import missing_modules

pytestmark = pytest.mark.unit

GONE = ("tuning.gone", "tuning.gone.place")


@contextlib.contextmanager
def things_of_another_version() -> Iterator[tuple[Any, Any]]:
    """An object and a function of a module that is only there in the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name in GONE:
            patch.setitem(sys.modules, name, types.ModuleType(name))
        place: Any = sys.modules[GONE[1]]
        exec("class Draw:\n    pass\n\n\ndef folder(trial):\n    return trial\n", vars(place))
        yield place.Draw(), place.folder


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_pickle_shows_the_modules_of_its_classes_and_functions(protocol: int) -> None:
    with things_of_another_version() as (draw, folder):
        texts = ("tuning.gone.place", "tuning.never.there")
        content = [pickle.dumps(one, protocol) for one in ([texts, draw, draw, folder], [Exploit, folder])]
    assert [missing_modules({"searcher": one}) for one in content] == [(GONE[1],)] * 2


def test_pickles_within_json_are_read_as_tune_writes_them() -> None:
    with things_of_another_version() as (draw, folder):
        trial = json.dumps({"folder": folder, "draw": draw}, cls=TuneFunctionEncoder)
    assert missing_modules({"experiment_state": json.dumps({"trial_data": [[trial, "{}"]]}).encode()}) == (GONE[1],)


@pytest.mark.parametrize("whole", [Exploit, [Exploit, missing_modules], {"tuning.gone.place": "tuning/gone/place.py"}])
def test_what_is_here_or_is_text_alone_is_not_missing(whole: Any) -> None:
    assert missing_modules({"searcher": cloudpickle.dumps(whole)}) == ()


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x80\x04\x95", b'{"id": "80049501"}', b"{}\n" * 50])
def test_what_is_no_pickle_names_nothing(content: bytes) -> None:
    assert missing_modules({"any": content}) == ()
