"""The last line of a command: the next commands, ready to be pasted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.simulated_studies import long_experiment
from tests.support.specs import GOOD, curve_experiment
from tuning import load_spec
from tuning.cli import main
from tuning.cli.next_steps import after_run
from tuning.testing.simulated_ray import simulated_ray


@pytest.mark.unit
def test_after_a_run_come_the_page_and_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert after_run(load_spec(GOOD)) == "Next: tunefleet report mine, tunefleet train-final mine"


@pytest.mark.unit
def test_where_the_run_folder_is_elsewhere_the_commands_say_so(tmp_path: Path) -> None:
    spec = load_spec({**GOOD, "cluster": {"storage": str(tmp_path / "my runs")}})
    where = f"mine --storage '{tmp_path}/my runs'"
    assert after_run(spec) == f"Next: tunefleet report {where}, tunefleet train-final {where}"
    bucket = load_spec({**GOOD, "cluster": {"storage": "s3://bucket/runs"}})
    assert after_run(bucket).startswith("Next: tunefleet report mine --storage s3://bucket/runs, tunefleet train-final")


@pytest.mark.unit
def test_where_there_is_no_model_to_keep_none_is_promised(tmp_path: Path) -> None:
    assert after_run(curve_experiment(tmp_path)) == f"Next: tunefleet report whole --storage {tmp_path}"


@pytest.mark.unit
def test_a_valid_spec_is_run_next_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["validate", "quickstart", "name=two", "seeds=[0, 1]"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Next: tunefleet run quickstart name=two 'seeds=[0, 1]'"


@pytest.mark.tune
def test_a_run_ends_with_the_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = long_experiment(tmp_path, strategies=[{"kind": "grid", "points": 2}])
    (tmp_path / "own.yaml").write_text(spec.to_yaml())
    with simulated_ray():
        assert main(["run", str(tmp_path / "own.yaml")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == f"Next: tunefleet report whole --storage {tmp_path}"
    with simulated_ray():
        assert main(["resume", "whole", "--storage", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == shown[-1]
