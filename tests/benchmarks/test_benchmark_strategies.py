"""The reference experiments: what they declare, and that a run of one is written down and gone on with."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from benchmarks.strategies import screenshots
from benchmarks.strategies.__main__ import WIDE, experiments, load, main, members, names
from tests.support.browser import need_chromium

ON_CPU = ["cluster.gpus_per_trial=0"]
KINDS = {"defaults", "grid", "random", "random_asha", "hyperopt_asha", "pbt"}  # in every experiment


@pytest.mark.unit
@pytest.mark.parametrize("name", sorted(set(experiments()) - set(members(WIDE))))
def test_every_experiment_compares_the_strategies_over_five_searches_at_one_price(name: str, tmp_path: Path) -> None:
    spec = load(name, tmp_path, ON_CPU)
    assert spec.name == f"strategies-{name}"
    assert {strategy.kind for strategy in spec.strategies} == KINDS | {"hyperopt"}
    assert len(spec.seeds) >= 5
    assert spec.budget.limit is not None
    assert spec.budget.limit.unit == "device_seconds"
    assert spec.test


@pytest.mark.unit
def test_the_wide_experiment_has_three_budgets_over_ten_searches_of_one_space(tmp_path: Path) -> None:
    assert WIDE in names()
    specs = [load(name, tmp_path, ON_CPU) for name in members(WIDE)]
    assert [spec.budget.epochs for spec in specs] == [4, 16, 64]
    assert all(len(spec.seeds) >= 10 and len(spec.space.searched) == 5 and spec.test for spec in specs)
    assert len({(spec.precision, spec.model, spec.epochs, spec.space.model_dump_json()) for spec in specs}) == 1
    smallest, *others = [{strategy.kind for strategy in spec.strategies} for spec in specs]
    assert smallest < KINDS
    assert all(kinds == KINDS | {"optuna", "pb2"} for kinds in others)


@pytest.mark.system
def test_a_run_is_written_down_and_a_finished_one_again_without_running(tmp_path: Path) -> None:
    words = ["rte-two-cores", "--storage", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--no-screenshots"]
    overrides = ["trainable=learning_curve", "test=false", "seeds=[0, 1]", "budget={epochs: 12}", "data.path=null"]
    overrides += ["strategies=[{kind: random, trials: null}, {kind: pbt, population: 3}]", "data.hub=null"]
    assert main([*words, *overrides]) == 0
    written = {path.suffix: path for path in (tmp_path / "out").iterdir()}
    assert sorted(written) == [".html", ".json", ".md"]
    record = json.loads(written[".json"].read_text())
    assert record["command"].startswith("python -m benchmarks.strategies rte-two-cores")
    assert record["machine"]["cores"] >= 1
    assert [row["strategy"] for row in record["comparison"]["rows"]] == ["random", "pbt"]
    assert "No verdict" in written[".md"].read_text()
    for path in written.values():
        path.unlink()
    assert main([*words, "--write-only"]) == 0
    assert json.loads(written[".json"].read_text()) == record


@pytest.mark.unit
def test_a_missing_browser_is_reported_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit):
        main(["rte", "--storage", str(tmp_path)])
    assert "no Chromium on this machine: apt-get install chromium, or add --no-screenshots" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.system
@pytest.mark.browser
def test_a_page_is_pictured_whole_as_a_laptop_and_a_phone_show_it(tmp_path: Path) -> None:
    need_chromium()
    page = tmp_path / "tall.html"
    page.write_text("<!doctype html><html data-drawn='true'><body style='margin:0;height:2000px'></body></html>")
    sizes = [struct.unpack("!2I", file.read_bytes()[16:24]) for file in screenshots.take(page)]
    assert sizes == [(width, 2000) for width in screenshots.WIDTHS]
