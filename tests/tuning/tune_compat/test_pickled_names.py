"""Which names of ours a snapshot needs that are not here, told from its bytes."""

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

from tuning import outcome
from tuning.outcome import Exploit
from tuning.space import Space
from tuning.tune_compat.pickled_names import missing_names

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
    assert [missing_names({"searcher": one}) for one in content] == [(GONE[1],)] * 2


def test_pickles_within_json_are_read_as_tune_writes_them() -> None:
    with things_of_another_version() as (draw, folder):
        trial = json.dumps({"folder": folder, "draw": draw}, cls=TuneFunctionEncoder)
    assert missing_names({"experiment_state": json.dumps({"trial_data": [[trial, "{}"]]}).encode()}) == (GONE[1],)


def test_a_name_that_its_module_no_longer_has_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(outcome, "Gone", type("Gone", (), {"__module__": "tuning.outcome"}), raising=False)
        content = pickle.dumps([outcome.Gone, Exploit])  # type: ignore[attr-defined]
    assert missing_names({"searcher": content}) == ("tuning.outcome.Gone",)


@pytest.mark.parametrize(
    "whole", [Exploit, [Exploit, missing_names, Space.sample], {"tuning.gone.place": "tuning/gone/place.py"}]
)
def test_what_is_here_or_is_text_alone_is_not_missing(whole: Any) -> None:
    assert missing_names({"searcher": cloudpickle.dumps(whole)}) == ()


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x80\x04\x95", b'{"id": "80049501"}', b"{}\n" * 50])
def test_what_is_no_pickle_names_nothing(content: bytes) -> None:
    assert missing_names({"any": content}) == ()
