"""A resume with other versions of libraries, or other code, than before: asked about, and then said."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.support.outcomes import study, trial
from tests.support.power_cuts import cut_off, in_virtual_time
from tests.support.specs import curve_fields
from tuning import load_spec
from tuning.comparison.version_caveats import version_caveats
from tuning.errors import RunFolderError
from tuning.run_folder.provenance import provenance_of, refuse_other_provenance

CURVE = """
from trainables.learning_curve import LearningCurve

class Curve(LearningCurve):
    pass
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module with a trainable, which can be imported."""
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(CURVE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / f"{name}.py"


def fields(storage: Path, module: Path) -> dict[str, Any]:
    """Two studies of two trials, which train four epochs each study."""
    return curve_fields(
        storage,
        name="found",
        trainable=f"{module.stem}:Curve",
        objective={"metric": "accuracy", "mode": "max"},
        epochs=2,
        strategies=[{"kind": "grid", "points": 2}, {"kind": "random", "trials": 2}],
        cluster={"max_concurrent": 1},
    )


@pytest.mark.tune
def test_a_resume_with_other_versions_is_asked_for_and_then_said(tmp_path: Path, own_module: Path) -> None:
    spec = load_spec(fields(tmp_path / "runs", own_module))
    with mock.patch("tuning.run_folder.provenance.version", lambda name: "1.0" if name == "torch" else version(name)):
        before = provenance_of(spec)
        cut_off(spec, epochs=7)
    own_module.write_text(CURVE + "\n# changed\n")
    now = provenance_of(spec)
    with pytest.raises(RunFolderError, match=r"torch 1\.0 before, .* now; code of your trainable \w+ before"):
        in_virtual_time(spec, resume=True)
    outcome = in_virtual_time(spec, resume=True, force=True)
    attributes = outcome.study("random", 0).attributes
    code = "trainable_code"
    assert attributes["mixed"] == (f"torch 1.0, then {now['torch']}; {code} {before[code]}, then {now[code]}")
    assert "mixed" not in outcome.study("grid", 0).attributes  # it had ended
    first, second = version_caveats(outcome.studies)[:2]
    assert first.startswith(f"random seed 0 ran with more than one version ({attributes['mixed']})")
    assert f"torch 1.0 (grid seed 0), {now['torch']} (random seed 0)" in second


@pytest.mark.unit
def test_the_code_is_that_of_the_package_and_of_a_trainable_of_ones_own(tmp_path: Path, own_module: Path) -> None:
    spec = load_spec(fields(tmp_path, own_module))
    before = provenance_of(spec)
    assert provenance_of(spec) == before
    assert "trainable_code" not in provenance_of(load_spec(curve_fields(tmp_path)))
    own_module.write_text(CURVE + "\n# changed\n")
    now = provenance_of(spec)
    assert {name for name in now if now[name] != before[name]} == {"trainable_code"}
    made = study("grid", [trial(0, [])])
    refuse_other_provenance([replace(made, attributes={"slots": 2})], now)  # nothing is known of how it was made
    with pytest.raises(RunFolderError, match=rf"\(code of your trainable {before['trainable_code']} before"):
        refuse_other_provenance([replace(made, attributes=before)], now)


@pytest.mark.unit
def test_code_that_is_found_by_two_paths_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without an __init__.py, with its parent on the path twice: as it stands, and as a link."""
    own = tmp_path / "here" / f"own_{tmp_path.name}"
    own.mkdir(parents=True)
    (own / "mine.py").write_text(CURVE)
    monkeypatch.syspath_prepend(str(own.parent))
    spec = load_spec({**fields(tmp_path, own), "trainable": f"{own.name}.mine:Curve"})
    before = provenance_of(spec)
    (tmp_path / "link").symlink_to(own.parent)
    monkeypatch.syspath_prepend(str(tmp_path / "link"))
    assert provenance_of(spec) == before
