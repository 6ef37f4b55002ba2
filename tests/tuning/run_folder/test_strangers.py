"""A run folder and the other accounts of its machine: none enters it, and none's is taken for one's own."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.specs import GOOD
from tests.support.strangers import NOBODY, needs_root
from trainables.data.cache_folder import private_folder
from tuning.errors import RunFolderError
from tuning.run_folder.files import LOCK_FILE
from tuning.run_folder.folder import claim_run_folder
from tuning.run_folder.run_lock import run_lock
from tuning.spec.loading import load_spec
from tuning.spec.models import ExperimentSpec

pytestmark = pytest.mark.unit


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield int(request.param)
    os.umask(before)


def spec_of(storage: Path) -> ExperimentSpec:
    return load_spec({**GOOD, "cluster": {"storage": str(storage)}})


def run_in(tmp_path: Path) -> ExperimentSpec:
    spec = spec_of(tmp_path / "deep" / "runs")
    with run_lock(spec.run_folder, spec.name):
        claim_run_folder(spec, resume=False)
    return spec


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077], indirect=True)
def test_a_run_folder_is_closed_whatever_the_umask_and_nobody_can_put_another_in_its_place(
    tmp_path: Path, umask: int
) -> None:
    folder = run_in(tmp_path).run_folder
    assert mode(folder) == 0o700
    assert all(not mode(parent) & stat.S_IWOTH for parent in (folder.parent, folder.parent.parent))
    assert mode(folder / LOCK_FILE) & 0o007 == 0


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("umask", [0o000], indirect=True)
def test_no_folder_on_the_way_to_the_cache_is_writable_for_all(tmp_path: Path) -> None:
    cache = private_folder(tmp_path / "home" / ".cache" / "tunefleet", "tokens")
    for folder in (cache, *cache.parents[:3]):
        assert not mode(folder) & stat.S_IWOTH, folder


@pytest.mark.parametrize("umask", [0o002], indirect=True)
def test_a_group_that_shares_a_folder_by_its_setgid_bit_shares_the_runs_in_it(tmp_path: Path, umask: int) -> None:
    runs = tmp_path / "deep" / "runs"
    runs.mkdir(parents=True)
    runs.chmod(0o2775)
    assert mode(run_in(tmp_path).run_folder) & 0o777 == 0o770


def test_a_run_folder_that_is_there_already_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "runs" / "mine"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    run_in(tmp_path)
    assert mode(folder) == 0o755


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_another_account_is_neither_run_in_nor_gone_on_with(tmp_path: Path, resume: bool) -> None:
    needs_root()
    spec = run_in(tmp_path) if resume else spec_of(tmp_path / "deep" / "runs")
    spec.run_folder.mkdir(parents=True, exist_ok=True)
    os.chown(spec.run_folder, NOBODY, NOBODY)
    with pytest.raises(RunFolderError, match=rf"belongs to another account \(uid {NOBODY}\).*--trust-fetched"):
        claim_run_folder(spec, resume=resume)
    if resume:
        claim_run_folder(spec, resume=True, trust_fetched=True)


def test_a_lock_that_leads_elsewhere_empties_nothing(tmp_path: Path) -> None:
    kept, folder = tmp_path / "thesis.txt", tmp_path / "runs" / "mine"
    kept.write_text("years of work")
    folder.mkdir(parents=True)
    (folder / LOCK_FILE).symlink_to(kept)
    with pytest.raises(RunFolderError, match="is a symbolic link"), run_lock(folder, "mine"):
        pass
    assert kept.read_text() == "years of work"
