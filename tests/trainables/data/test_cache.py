"""Tokenised data that trials share: once per content, options, tokenizer and length, and equal bit for bit."""

from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.data_files import local_copy, texts, write_csv
from trainables import tasks
from trainables.data.encoding import PreparedTask, clear_caches, prepare_task
from trainables.data.summarising import with_tokens
from trainables.models.encoders import load_tokenizer
from trainables.spec import DataSpec, FineTuneSpec, Subset
from trainables.tasks import TaskData, TaskError, find_task, find_tasks, task_names
from trainables.tasks.text_classification import TextClassification

PROCESSES = multiprocessing.get_context("fork")  # a new process that need not import everything again


@dataclass(frozen=True)
class Logged(TextClassification):
    """Text classification that writes down when it reads and when it tokenises."""

    log: str = ""

    def load(self, data: DataSpec) -> TaskData:
        self._write("read")
        return super().load(data)

    def tokenize(self, split: Any, tokenizer: Any, max_length: int) -> Any:
        self._write(f"{len(split)} rows")
        return super().tokenize(split, tokenizer, max_length)

    def _write(self, line: str) -> None:
        with Path(self.log).open("a") as file:
            file.write(f"{line}\n")

    @property
    def lines(self) -> list[str]:
        return Path(self.log).read_text().splitlines()


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logged:
    """The task `logged`, and a store of its own."""
    (tmp_path / "log").touch()
    generic = find_task("text_classification")
    task = Logged("logged", generic.summary, generic.data, generic.objective, log=str(tmp_path / "log"))
    registry = find_tasks()
    assert isinstance(registry, dict)
    monkeypatch.setitem(registry, "logged", task)
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "cache"))
    return task


@pytest.fixture
def spec(logged: Logged, tiny_model: Path, tmp_path: Path) -> FineTuneSpec:
    path = write_csv(tmp_path / "rows.csv", {"text": texts(60), "label": [i % 3 for i in range(60)]})
    data = DataSpec(path=str(path), text=("text",), label="label", max_length=16)
    return FineTuneSpec(task="logged", data=data, model=str(tiny_model), epochs=1)


def prepare_anew(spec: FineTuneSpec, max_length: int | None = None) -> PreparedTask:
    clear_caches()
    return prepare_task(spec, max_length)


BUILT = ["read", "42 rows", "6 rows"]


@pytest.mark.system
def test_a_second_process_neither_reads_rows_nor_tokenises(spec: FineTuneSpec, logged: Logged) -> None:
    first = prepare_anew(spec)
    assert logged.lines == BUILT
    second = PROCESSES.Process(target=prepare_anew, args=(spec,))
    second.start()
    second.join(60)
    assert second.exitcode == 0
    third = prepare_anew(spec)
    assert logged.lines == BUILT
    assert (third.facts, third.lengths) == (first.facts, first.lengths)
    assert third.train.to_dict() == first.train.to_dict()


@pytest.mark.system
def test_processes_that_start_together_tokenise_once(spec: FineTuneSpec, logged: Logged) -> None:
    clear_caches()
    processes = [PROCESSES.Process(target=prepare_task, args=(spec, None)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert logged.lines == BUILT


@pytest.mark.unit
def test_the_test_split_is_tokenised_when_it_is_asked_for_and_then_kept(spec: FineTuneSpec, logged: Logged) -> None:
    test = prepare_anew(spec).test
    assert logged.lines == [*BUILT, "12 rows"]
    assert prepare_anew(spec).test.to_dict() == test.to_dict()
    assert logged.lines == [*BUILT, "12 rows"]


@pytest.mark.unit
def test_a_search_over_the_length_reads_the_rows_once(spec: FineTuneSpec, logged: Logged) -> None:
    clear_caches()
    assert [max(prepare_task(spec, tokens).lengths) for tokens in (4, 5, 6, 4)] == [4, 5, 6, 4]
    assert logged.lines == ["read", *["42 rows", "6 rows"] * 3]


@pytest.mark.unit
def test_trials_with_other_values_share_an_entry(spec: FineTuneSpec, logged: Logged) -> None:
    prepare_anew(spec)
    prepare_anew(spec.model_copy(update={"seed": 7, "epochs": 9.0, "fixed": {"learning_rate": 1e-3}}))
    assert logged.lines == BUILT


@pytest.mark.unit
def test_a_copy_of_the_data_elsewhere_shares_the_entry(spec: FineTuneSpec, logged: Logged, tmp_path: Path) -> None:
    prepare_anew(spec)
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copy(str(spec.data.path), tmp_path / "elsewhere" / "renamed.csv")
    prepare_anew(spec.model_copy(update={"data": spec.data.model_copy(update={"path": str(copy)})}))
    assert logged.lines == BUILT


@pytest.mark.unit
@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 4},
        {"seed": 1},
        {"subset": Subset(train=30)},
        {"validation_fraction": 0.2},
        {"text": ("label",), "label": "text"},
    ],
    ids=str,
)
def test_another_option_of_the_data_has_its_own_entry(
    spec: FineTuneSpec, logged: Logged, change: dict[str, Any]
) -> None:
    prepare_anew(spec)
    other = spec.model_copy(update={"data": spec.data.model_copy(update=change)})
    if "text" in change:
        with pytest.raises(TaskError):  # every text a class of its own: read, and refused
            prepare_anew(other)
    else:
        assert prepare_anew(other).train.to_dict() != prepare_anew(spec).train.to_dict()
    assert logged.lines.count("read") == 2


@pytest.mark.unit
def test_a_file_whose_content_has_changed_has_its_own_entry(spec: FineTuneSpec, logged: Logged) -> None:
    first = prepare_anew(spec)
    path = Path(str(spec.data.path))
    path.write_text(path.read_text().replace("film", "play"))
    second = prepare_anew(spec)
    assert second.facts.fingerprint != first.facts.fingerprint
    assert second.train.to_dict() != first.train.to_dict()
    assert logged.lines == BUILT * 2


@pytest.mark.unit
def test_another_tokenizer_has_its_own_entry_and_a_copy_of_it_has_not(
    spec: FineTuneSpec, logged: Logged, tmp_path: Path
) -> None:
    copy, other = (Path(shutil.copytree(spec.model, tmp_path / name)) for name in ("copy", "other"))
    words = (other / "tokenizer.json").read_text()
    assert '"film": ' in words
    (other / "tokenizer.json").write_text(words.replace('"film": ', '"flim": '))
    first, same, changed = (
        prepare_anew(spec.model_copy(update={"model": str(model)})) for model in (spec.model, copy, other)
    )
    assert same.train.to_dict() == first.train.to_dict() != changed.train.to_dict()
    assert logged.lines == BUILT * 2


@pytest.mark.unit
def test_a_model_of_fewer_positions_has_its_own_entry(spec: FineTuneSpec, tmp_path: Path) -> None:
    prepare_anew(spec)
    short = Path(shutil.copytree(spec.model, tmp_path / "short"))
    config = (short / "config.json").read_text()
    (short / "config.json").write_text(config.replace('"max_position_embeddings": 128', '"max_position_embeddings": 8'))
    with pytest.raises(TaskError, match="the model takes at most 8 tokens"):
        prepare_anew(spec.model_copy(update={"model": str(short)}))


@pytest.mark.unit
def test_another_preset_has_its_own_entry(spec: FineTuneSpec, logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_anew(spec)
    monkeypatch.setitem(find_tasks(), "logged", replace(logged, class_names=("no", "perhaps", "yes")))  # type: ignore[misc]
    assert prepare_anew(spec).facts.label_names == ("no", "perhaps", "yes")
    assert logged.lines == BUILT * 2


@pytest.mark.unit
def test_an_edited_task_has_its_own_entry(
    spec: FineTuneSpec, logged: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(tasks.__path__[0], tmp_path / "tasks"))
    monkeypatch.setattr(tasks, "__path__", [str(folder)])
    prepare_anew(spec)
    with (folder / "text.py").open("a") as file:
        file.write("TEXT_COLUMNS = ('text', 'other')\n")
    prepare_anew(spec)
    assert logged.lines == BUILT * 2


@pytest.mark.unit
def test_rows_that_change_while_they_are_used_are_refused(spec: FineTuneSpec) -> None:
    clear_caches()
    prepared = prepare_task(spec, None)
    clear_caches()
    again = prepare_task(spec, None)  # found: its rows are not read yet
    path = Path(str(spec.data.path))
    path.write_text(path.read_text().replace("film", "play"))
    with pytest.raises(TaskError, match="its rows have changed since this process began to use them; start again"):
        again.test  # noqa: B018
    assert prepared.test["length"][:] == sorted(prepared.test["length"])  # its rows were read before


@pytest.mark.unit
def test_a_missing_file_is_reported_before_the_store_is_asked(spec: FineTuneSpec) -> None:
    prepare_anew(spec)
    Path(str(spec.data.path)).unlink()
    with pytest.raises(TaskError, match=r"data.path: .*no such file or folder"):
        prepare_anew(spec)


# ---------------------------------------------------------------- the contract, over every task


@pytest.mark.unit
@pytest.mark.parametrize("name", task_names())
def test_each_task_is_stored_as_it_is_tokenised(
    name: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = find_task(name)
    options = local_copy(task, tmp_path / "data")
    same_as_in_memory(FineTuneSpec(task=name, data=options, model=str(tiny_model), epochs=1), monkeypatch, tmp_path)


@pytest.mark.unit
@pytest.mark.data
@pytest.mark.parametrize("name", ["rte", "imdb"])
def test_the_real_data_are_stored_as_they_are_tokenised(
    name: str, real_data: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataSpec(path=str(real_data / name), subset=Subset(train=600, validation=100, test=100))
    same_as_in_memory(FineTuneSpec(task=name, data=data, model=str(tiny_model), epochs=1), monkeypatch, tmp_path)


@pytest.mark.unit
def test_the_embedded_reviews_are_stored_as_they_are_tokenised(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataSpec(subset=Subset(train=200, validation=100, test=100))
    same_as_in_memory(FineTuneSpec(task="reviews", data=data, model=str(tiny_model), epochs=1), monkeypatch, tmp_path)


def same_as_in_memory(spec: FineTuneSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Built and found again, the splits hold what the task makes of its rows, type by type."""
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "cache"))
    task, tokenizer = find_task(spec.task), load_tokenizer(spec)
    rows = task.load(spec.data)
    counted = [task.tokenize(split, tokenizer, 128) for split in rows[:3]]
    train, validation, test = (split.remove_columns("full_length") for split in counted)
    orders = [np.argsort(split["length"], kind="stable") for split in (validation, test)]
    for prepared in (prepare_anew(spec), prepare_anew(spec)):
        stored = (prepared.train, prepared.validation, prepared.test)
        for split, expected in zip(stored, (train, validation.select(orders[0]), test.select(orders[1])), strict=True):
            assert split.features == expected.features
            assert split.to_dict() == expected.to_dict()
        assert list(prepared.lengths) == train["length"][:]
        facts = prepared.facts
        assert (facts.num_labels, facts.label_names) == (rows.num_labels, rows.label_names)
        assert (facts.fingerprint, facts.test_rows) == (rows.fingerprint, len(rows.test))
        splits = dict(zip(("train", "validation", "test"), counted, strict=True))
        assert prepared.summary(test=True) == with_tokens(rows, splits, tokenizer, 128)
