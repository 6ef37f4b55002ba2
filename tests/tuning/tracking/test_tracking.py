"""W&B: whether it is used, and where its key comes from and goes to."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from tuning.spec import WandbSpec
from tuning.tracking import tracking
from tuning.tracking.tracking import Secret, Tracking, TrackingError
from tuning.tracking.wandb_runs import run_id

pytestmark = pytest.mark.unit

CANARY = "c0ffee00" * 5  # 40 hexadecimal characters, as a key has


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(tracking, "kept_key", None)


def track(wandb: WandbSpec, folder: Path) -> Tracking:
    return Tracking.of(SimpleNamespace(wandb=wandb, name="exp", run_folder=folder))  # type: ignore[arg-type]


def test_without_a_key_it_is_disabled_and_says_how_to_change_that(tmp_path: Path) -> None:
    tracked = track(WandbSpec(), tmp_path)
    assert tracked.mode == "disabled"
    assert tracked.callbacks("grid", 0) == []
    assert tracked.describe() == (
        "W&B: disabled (no WANDB_API_KEY and no wandb.key_file; set wandb.mode=offline to keep local runs)"
    )


def test_online_without_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"wandb\.mode: online needs a key.*wandb\.mode=offline"):
        track(WandbSpec(mode="online"), tmp_path)


def test_a_key_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"wandb\.key_file: .*nowhere cannot be read: No such file"):
        track(WandbSpec(key_file=str(tmp_path / "nowhere")), tmp_path)


@pytest.mark.parametrize("content", ["", "\n", "api_key: abc"])
def test_a_key_file_without_exactly_one_key_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(TrackingError, match="must hold the key and nothing else") as caught:
        track(WandbSpec(key_file=str(tmp_path / "key")), tmp_path)
    assert "abc" not in str(caught.value)


def test_the_key_leaves_the_environment_and_serves_later_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    first, second = track(WandbSpec(), tmp_path), track(WandbSpec(), tmp_path)
    assert "WANDB_API_KEY" not in os.environ
    assert first.mode == second.mode == "online"
    assert second.key is not None
    assert second.key.reveal() == CANARY
    assert CANARY not in f"{first!r} {first}"


def test_disabled_takes_the_key_out_of_the_environment_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    tracked = track(WandbSpec(mode="disabled"), tmp_path)
    assert tracked.key is None
    assert tracked.describe() == "W&B: disabled"
    assert "WANDB_API_KEY" not in os.environ


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret(CANARY)
    assert CANARY not in f"{secret} {secret!r}"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)


def test_a_pickled_callback_holds_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    (callback,) = track(WandbSpec(), tmp_path).callbacks("grid", 0)
    assert CANARY.encode() not in pickle.dumps(callback)


def test_run_ids_are_stable_distinct_and_short_enough() -> None:
    assert run_id("exp/pbt/seed0", "ab12c_00001") == "exp-pbt-seed0-ab12c_00001"
    long = ["x" * 80 + f"/pbt/seed{seed}" for seed in range(2)]
    ids = {run_id(group, trial) for group in long for trial in ("ab12c_00000", "ab12c_00001")}
    assert len(ids) == 4
    assert max(map(len, ids)) <= 64
