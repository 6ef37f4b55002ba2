"""A run that a version with other modules has begun: refused by name before Ray starts, and still readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.power_cuts import cut_off, in_virtual_time
from tests.support.specs import curve_experiment
from tuning import compare
from tuning.errors import RunFolderError
from tuning.spec.models import STUDIES
from tuning.store.study_store import StudyStore
from tuning.tune_compat.snapshots import Snapshot

pytestmark = pytest.mark.tune

HERE, THERE = b"tuning.tune_compat.tune_run", b"tuning.searching.of_studies"  # of one length, as pickles count it


@pytest.mark.parametrize("kind", ["grid", "pbt"])
def test_it_says_which_modules_are_missing_and_what_to_do_and_its_results_stay_readable(
    kind: str, tmp_path: Path
) -> None:
    size = {"population": 4} if kind == "pbt" else {"points": 4}
    spec = curve_experiment(tmp_path, strategies=[{"kind": kind, **size}], test=False)
    cut_off(spec, 6)
    before = StudyStore(spec.store_url).load(spec.name)
    snapshots = sorted((spec.run_folder / STUDIES / f"{kind}-seed0" / "snapshots").iterdir())
    for path in snapshots:
        path.write_bytes(renamed(Snapshot.parse(path.read_bytes())).seal())
    with pytest.raises(RunFolderError) as refused:
        in_virtual_time(spec, resume=True, force=True)
    for said in (f"{kind}, seed 0", str(snapshots[-1]), THERE.decode(), "`tunefleet run --fresh`", "stays readable"):
        assert said in str(refused.value)
    assert "No module named" not in str(refused.value)
    after = StudyStore(spec.store_url).load(spec.name)
    assert after == before
    assert compare(after).verdict


def renamed(snapshot: Snapshot) -> Snapshot:
    """Returns the snapshot as a version would have written it in which the module `HERE` was called `THERE`."""
    files = {}
    for name, content in snapshot.files.items():
        found = content.replace(HERE, THERE)
        files[name] = found.replace(HERE.hex().encode(), THERE.hex().encode())
    assert files != snapshot.files
    return snapshot._replace(files=files)
