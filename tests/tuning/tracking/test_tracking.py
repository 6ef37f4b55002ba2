"""Tests the mode of W&B, and where its key comes from and goes to."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.specs import GOOD
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.tracking import tracking
from tuning.tracking.spec import WandbSpec
from tuning.tracking.tracking import Secret, Tracking, TrackingError
from tuning.tracking.wandb_runs import run_id

pytestmark = pytest.mark.unit

CANARY = "c0ffee00" * 5  # 40 hexadecimal characters, as a key has


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("API_KEY", "MODE", "DISABLED", "DIR", "PROJECT", "ENTITY"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "account"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracking, "cached_key", None)


def track(wandb: WandbSpec, folder: Path) -> Tracking:
    return Tracking.of(SimpleNamespace(wandb=wandb, name="exp", run_folder=folder))  # type: ignore[arg-type]


def test_without_a_key_it_is_disabled_and_says_how_to_change_that(tmp_path: Path) -> None:
    tracked = track(WandbSpec(), tmp_path)
    assert tracked.mode == "disabled"
    assert tracked.callbacks("grid", 0) == []
    assert tracked.describe() == (
        "W&B: disabled (no WANDB_API_KEY, no wandb.key_file; wandb.mode=offline keeps local runs)"
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


@pytest.mark.parametrize(
    ("variable", "mode"),
    [
        ("WANDB_MODE=disabled", "disabled"),
        ("WANDB_MODE=offline", "offline"),
        ("WANDB_MODE=dryrun", "offline"),
        ("WANDB_MODE=online", "online"),
        ("WANDB_MODE=run", "online"),
        ("WANDB_MODE=", "online"),
        ("WANDB_DISABLED=true", "disabled"),
        ("WANDB_DISABLED=1", "disabled"),
        ("WANDB_DISABLED=false", "online"),
    ],
)
def test_with_a_key_the_variables_of_wandb_are_obeyed_and_reported(
    variable: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, value = variable.partition("=")
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    tracked = track(WandbSpec(), tmp_path)
    assert tracked.mode == mode
    assert (tracked.callbacks("grid", 0) == []) is (mode == "disabled")
    assert tracked.describe().startswith(f"W&B: {mode}")
    assert (variable in tracked.describe()) is (value not in ("", "false"))


@pytest.mark.parametrize("wanted", ["online", "offline", "disabled"])
@pytest.mark.parametrize("outside", ["online", "offline", "disabled"])
def test_of_the_spec_and_the_variable_that_which_sends_less_is_in_force(
    wanted: str, outside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    monkeypatch.setenv("WANDB_MODE", outside)
    tracked = track(WandbSpec.model_validate({"mode": wanted}), tmp_path)
    order = ["disabled", "offline", "online"]
    assert tracked.mode == min(wanted, outside, key=order.index)
    overruled = tracked.mode != wanted
    assert (f"(WANDB_MODE={outside}, which overrides wandb.mode: {wanted})" in tracked.describe()) is overruled


def test_without_a_key_a_variable_that_asks_for_online_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    assert track(WandbSpec(), tmp_path).describe().startswith("W&B: disabled (no WANDB_API_KEY")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert track(WandbSpec(), tmp_path).describe().startswith("W&B: offline (WANDB_MODE=offline), project tunefleet")
    assert track(WandbSpec(mode="online"), tmp_path).mode == "offline"  # no key is needed for what is not sent


@pytest.mark.parametrize("where", ["wandb", "account"])
def test_what_wandb_offline_has_written_is_obeyed(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    (tmp_path / where).mkdir()
    (tmp_path / where / "settings").write_text("[default]\nmode = offline\n")
    tracked = track(WandbSpec(), tmp_path)
    assert tracked.mode == "offline"
    assert str(tmp_path / where / "settings") in tracked.describe()
    monkeypatch.setenv("WANDB_MODE", "online")
    assert track(WandbSpec(), tmp_path).mode == "online"


def test_a_settings_file_that_is_none_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", CANARY)
    (tmp_path / "wandb").mkdir()
    for text in ("mode = offline", "\x00[", "[default]\nmode = sideways\n", "[default]\nentity = me\n"):
        (tmp_path / "wandb" / "settings").write_text(text)
        assert track(WandbSpec(), tmp_path).mode == "online"


def test_a_variable_that_names_no_mode_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(SpecError, match=r"WANDB_MODE: 'ofline': must be one of online, .*disabled; set one of them"):
        load_spec(GOOD)


def test_a_spec_that_says_online_needs_no_key_where_a_variable_says_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert load_spec(GOOD, ["wandb.mode=online"]).wandb.mode == "online"


def test_project_and_entity_are_the_specs_else_those_of_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "project tunefleet (" in track(WandbSpec(mode="offline"), tmp_path).describe()
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    assert "project team/ours (" in track(WandbSpec(mode="offline"), tmp_path).describe()
    assert "project me/mine (" in track(WandbSpec(mode="offline", project="mine", entity="me"), tmp_path).describe()
