"""Tests the ledger of test-set evaluations over all experiments of one account in one storage."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.support.data_files import texts, write_csv
from tests.support.strangers import NOBODY, needs_root
from trainables.data.row_hashes import RowHashes, hashes_of, row_hashes
from trainables.spec import DataSpec, Subset
from trainables.tasks import find_task
from tuning.spec.store_url import StoreError
from tuning.store.evaluation_ledger import MAX_HASHES, EvaluationLedger, TestRows

pytestmark = pytest.mark.unit


def rows(*numbers: int) -> TestRows:
    return TestRows.of(hashes_of((f"text {number}",) for number in numbers))


def test_rows_are_met_again_by_overlap_whatever_the_subset_the_seed_or_the_labels(tmp_path: Path) -> None:
    def hashed(**options: object) -> RowHashes:
        given = DataSpec(path=str(tmp_path), text=("text",), label="label", **options)  # type: ignore[arg-type]
        return row_hashes(find_task("text_classification").load(given))

    write_csv(tmp_path / "train.csv", {"text": texts(200), "label": [i % 2 for i in range(200)]})
    first, ledger = hashed(), EvaluationLedger(tmp_path)
    ledger.record("first", TestRows.of(first.test), ["first/a", "first/b"])

    def memory(now: RowHashes) -> tuple[int, int, int, int]:
        overlap = ledger.find_overlap(TestRows.of(now.test), TestRows.whole(now.trained))
        assert (overlap.rows, overlap.train_rows) == (len(now.test), len(now.trained))
        return overlap.models, overlap.seen, len(overlap.experiments), overlap.trained

    assert memory(first) == (2, 40, 1, 0)
    assert memory(hashed(subset=Subset(train=50))) == (2, 40, 1, 0)
    assert memory(hashed(subset=Subset(test=10))) == (2, 10, 1, 0)
    other = hashed(seed=1)
    shared = len(np.intersect1d(first.test, other.test))
    assert 0 < shared < 40
    assert memory(other) == (2, shared, 1, 40 - shared)
    write_csv(tmp_path / "train.csv", {"text": texts(200, 5000), "label": [i % 2 for i in range(200)]})
    assert memory(hashed()) == (0, 0, 0, 0)


def test_each_evaluation_is_counted_once_and_those_of_the_experiment_itself_are_its_own(tmp_path: Path) -> None:
    ledger = EvaluationLedger(tmp_path)
    for _ in range(2):
        ledger.record("a", rows(1, 2, 3), ["a/1", "a/2"])
        ledger.record("b", rows(3, 4), ["b/1"])
    assert list(ledger.read().entries) == ["a/1", "a/2", "b/1"]
    overlap = ledger.find_overlap(rows(3, 4, 5), rows(2, 9), own=["b/1"])
    assert (overlap.models, overlap.seen, overlap.experiments) == (2, 1, ("a",))
    assert (overlap.trained, overlap.trained_from) == (1, ("a",))
    # An experiment that is run again after its removal counts as another one, with no evaluation yet.
    again = ledger.find_overlap(rows(3, 4, 5), rows(2, 9))
    assert (again.models, again.seen, again.experiments) == (3, 2, ("a", "b"))
    assert list(again.sentences()) == [
        "Test rows used before: 3 models of earlier experiments (a and b) were evaluated on 2 of the 3 test rows. If a "
        "choice was made by those scores, the scores here may be too good.",
        "1 of the 2 training and validation rows were test rows of a: test scores of the two experiments do not "
        "compare, and models of this one have no test score on those rows.",
    ]


def test_nothing_was_looked_at_where_there_is_no_ledger(tmp_path: Path) -> None:
    overlap = EvaluationLedger(tmp_path / "runs").find_overlap(rows(1, 2))
    assert (overlap.models, overlap.seen, list(overlap.sentences())) == (0, 0, [])
    assert not (tmp_path / "runs").exists()


def test_of_a_large_split_a_sample_is_kept_and_overlaps_are_estimated(tmp_path: Path) -> None:
    ledger = EvaluationLedger(tmp_path)
    large = hashes_of((f"row {i}",) for i in range(3 * MAX_HASHES))
    half = hashes_of((f"row {i}",) for i in range(MAX_HASHES * 3 // 2, MAX_HASHES * 5))
    ledger.record("large", TestRows.of(large), ["large/1"])
    assert ledger.file.stat().st_size < 12 * MAX_HASHES
    few = rows(*range(100))
    assert ledger.find_overlap(few).seen == 0
    for trained in (None, TestRows.whole(half)):
        overlap = ledger.find_overlap(TestRows.of(half), trained)
        assert overlap.seen == pytest.approx(MAX_HASHES * 3 / 2, rel=0.05)
        assert overlap.trained == (0 if trained is None else pytest.approx(MAX_HASHES * 3 / 2, rel=0.05))
    assert TestRows.of(large).shared_with([TestRows.of(large)]) == 3 * MAX_HASHES


def test_writers_at_the_same_time_lose_no_look(tmp_path: Path) -> None:
    ready = threading.Barrier(8)

    def write(number: int) -> None:
        ledger = EvaluationLedger(tmp_path)
        ready.wait()
        for look in range(5):
            ledger.record(f"e{number}", rows(*range(number, number + 300)), [f"e{number}/{look}"])

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = EvaluationLedger(tmp_path).read()
    assert set(found.entries) == {f"e{number}/{look}" for number in range(8) for look in range(5)}
    assert all(look.rows in found.sets for look in found.entries.values())


@pytest.mark.parametrize("kept", [1, 50, 99])
def test_a_line_that_a_kill_has_cut_off_is_none_and_spoils_no_other(tmp_path: Path, kept: int) -> None:
    ledger = EvaluationLedger(tmp_path)
    ledger.record("a", rows(1, 2), ["a/1"])
    before = ledger.file.read_bytes()
    ledger.record("b", rows(2, 3), ["b/1"])
    after = ledger.file.read_bytes()
    ledger.file.write_bytes(after[: len(before) + (len(after) - len(before)) * kept // 100])
    assert list(ledger.read().entries) == ["a/1"]
    ledger.record("b", rows(2, 3), ["b/1"])
    assert ledger.find_overlap(rows(2, 3)).models == 2


def test_no_text_and_no_other_account_gets_in(tmp_path: Path) -> None:
    ledger = EvaluationLedger(tmp_path)
    ledger.record("a", TestRows.of(hashes_of([("a secret text", "and its pair")])), ["a/1"])
    assert b"secret" not in ledger.file.read_bytes()
    assert b"pair" not in ledger.file.read_bytes()
    assert stat.S_IMODE(ledger.file.stat().st_mode) == 0o600
    linked = EvaluationLedger(tmp_path / "linked")
    linked.file.parent.mkdir()
    linked.file.symlink_to(ledger.file)
    with pytest.raises(StoreError, match="cannot be read"):
        linked.read()
    with pytest.raises(StoreError, match="cannot be written"):
        linked.record("b", rows(1), ["b/1"])


def test_the_file_of_another_account_is_not_read(tmp_path: Path) -> None:
    needs_root()
    ledger = EvaluationLedger(tmp_path)
    ledger.record("a", rows(1), ["a/1"])
    os.chown(ledger.file, NOBODY, NOBODY)
    for act in (ledger.read, lambda: ledger.record("b", rows(1), ["b/1"])):
        with pytest.raises(StoreError, match=rf"belongs to another account \(uid {NOBODY}\), and is not read"):
            act()


@pytest.mark.parametrize("plain", [{}, {"count": 1, "hashes": "no base64!"}, {"count": 1, "hashes": "YWJj"}])
def test_a_damaged_record_of_rows_is_reported(plain: dict[str, object]) -> None:
    with pytest.raises(StoreError, match="a record of test rows is damaged"):
        TestRows.from_json(plain)
