"""Releases of Ray and transformers whose private parts nobody has looked at are refused before anything starts."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import tuning
from tests.support.specs import GOOD
from tuning import load_spec
from tuning.cli import main
from tuning.spec.mistakes import SpecError
from tuning.spec.validation.versions import BOUND, supported, unsupported

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _looked_at_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TUNEFLEET_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    unsupported.cache_clear()
    yield
    unsupported.cache_clear()


def install(folder: Path, name: str, release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the metadata goes, in front of what is installed."""
    info = folder / f"{name}-{release}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n")
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize(
    ("name", "release"),
    [("ray", "2.54.1"), ("ray", "2.59.0"), ("ray", "2.61.0"), ("ray", "3.0.0.dev0"), ("transformers", "5.22.2")],
)
def test_another_release_is_refused_with_both_versions_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, release: str
) -> None:
    install(tmp_path, name, release, monkeypatch)
    with pytest.raises(SpecError) as caught:
        load_spec(GOOD)
    bounds = supported()[name]
    assert [str(mistake) for mistake in caught.value.mistakes] == [
        f"{name}: '{release}': is installed; tunefleet {version('tunefleet')} is tested with {name}{bounds} "
        f"and no other release; pip install '{name}{bounds}'"
    ]


def test_a_later_patch_of_a_supported_release_is_none_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "ray", "2.60.9", monkeypatch)
    assert load_spec(GOOD).name == "mine"


@pytest.mark.parametrize("command", ["validate", "run"])
def test_the_commands_tell_it_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    install(tmp_path, "ray", "2.54.1", monkeypatch)
    assert main([command, "quickstart"]) == 2
    message = capsys.readouterr().err
    assert "ray: '2.54.1': is installed" in message
    assert str(supported()["ray"]) in message
    assert not (tmp_path / "runs").exists()


def test_the_supported_releases_are_those_of_pyproject_and_end_with_the_minor_release_that_the_tests_run_on() -> None:
    stated = tomllib.loads((Path(tuning.__file__).parents[1] / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = {one.name: one.specifier for one in map(Requirement, stated) if one.name in BOUND}
    assert bounds == supported()
    for name, releases in bounds.items():
        major, minor = version(name).split(".")[:2]
        assert releases.contains(f"{major}.{minor}.99"), name
        assert not releases.contains(f"{major}.{int(minor) + 1}.0"), name


def test_code_that_a_job_has_brought_without_its_metadata_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.spec.validation.versions.OURS", "brought-by-a-job")
    assert supported() == {}
    assert load_spec(GOOD).name == "mine"
