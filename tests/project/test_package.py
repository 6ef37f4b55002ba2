"""A wheel and an editable install both give `import tunefleet`, with its types."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import tuning

pytestmark = pytest.mark.system

ROOT = Path(tuning.__file__).parents[1]
BUILD = """
import sys, setuptools.build_meta as backend
getattr(backend, sys.argv[1])(sys.argv[2])
"""
IMPORT = """
import site, sys
site.addsitedir(sys.argv[1])
sys.path.append(sys.argv[2])  # the libraries, without what is installed beside them as editable
import tunefleet
print(tunefleet.__file__)
print(tunefleet.load_spec("quickstart").name)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a copy of the sources, since building leaves files among them."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("cluster", "trainables", "tuning"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def built(sources: Path, how: str, target: Path) -> zipfile.ZipFile:
    target.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD, how, str(target)], cwd=sources, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = target.glob("*.whl")
    return zipfile.ZipFile(wheel)


def imported(site: Path, elsewhere: Path) -> list[str]:
    """Returns where a program in another folder finds `tunefleet`, with only `site` and the libraries on its path."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TUNEFLEET_STORE")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", IMPORT, str(site), sysconfig.get_path("purelib")],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_wheel_brings_tunefleet_with_its_types_and_once(sources: Path, tmp_path: Path) -> None:
    wheel = built(sources, "build_wheel", tmp_path / "wheel")
    names = set(wheel.namelist())
    assert {
        "tunefleet/__init__.py",
        "tunefleet/py.typed",
        "tuning/py.typed",
        "tuning/report/page/parts/trials.js",
    } <= names
    assert not [name for name in names if name.startswith("tuning/api")]
    wheel.extractall(tmp_path / "site")
    assert imported(tmp_path / "site", tmp_path)[1] == "quickstart"
    assert imported(tmp_path / "site", tmp_path)[0] == str(tmp_path / "site/tunefleet/__init__.py")


def test_an_editable_install_finds_tunefleet_among_the_sources(sources: Path, tmp_path: Path) -> None:
    built(sources, "build_editable", tmp_path / "wheel").extractall(tmp_path / "site")
    assert imported(tmp_path / "site", tmp_path) == [str(sources / "tuning/api/tunefleet/__init__.py"), "quickstart"]
