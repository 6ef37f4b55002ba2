"""Shipped objects: what is pickled by value, what by reference, and the errors for the rest."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from tests.support.buckets import credentials, s3_server
from tests.support.user_trainers import make_trainer, trainer
from trainables.errors import InputError
from trainables.spec import SHIPPED
from trainables.user_trainer.extended import Extended
from trainables.user_trainer.shipped import is_shipped, load_shipped, ship
from trainables.user_trainer.shipped_files import USED, ShippedFiles
from trainables.user_trainer.shipped_tables import load_table, put_table

pytestmark = pytest.mark.unit


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "runs")


def local_file(name: str) -> Path:
    """The file behind a name, in a storage that is a folder."""
    return Path(name.removeprefix(SHIPPED))


def rows(count: int = 50) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": [[i, i + 1] for i in range(count)], "labels": [i % 2 for i in range(count)]})


def mapped(folder: Path, count: int = 50) -> Any:
    """A data set that is mapped from a file, as `load_dataset` gives it."""
    from datasets import load_from_disk

    rows(count).save_to_disk(str(folder))
    return load_from_disk(str(folder))


def files(storage: str) -> dict[str, int]:
    """The names of what was written, each with its number on the disk: what is written again has another."""
    found = Path(storage, ".shipped").iterdir()
    return {path.name: path.stat().st_ino for path in found}


def arrows(storage: str) -> list[str]:
    return [name for name in files(storage) if name.endswith(".arrow")]


def own_module(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Any:
    """A module beside the user's script, which is on the path of this process alone."""
    (folder / "mine_alone.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "mine_alone", raising=False)
    import mine_alone  # type: ignore[import-not-found]

    return mine_alone


def test_a_function_with_its_closure_comes_back(storage: str) -> None:
    factor = 3
    name = ship(lambda params: params["x"] * factor, storage, "make_trainer")
    assert is_shipped(name)
    assert load_shipped(name)({"x": 2}) == 6


def test_each_load_is_a_copy_of_its_own(storage: str) -> None:
    name = ship({"seen": []}, storage, "callbacks")
    load_shipped(name)["seen"].append("a trial")
    assert load_shipped(name) == {"seen": []}


def test_a_dataset_in_a_closure_travels_as_a_handle(storage: str) -> None:
    large = rows(20_000)
    name = ship(lambda: large, storage, "make_trainer")
    assert local_file(name).stat().st_size < 10_000
    back = load_shipped(name)()
    assert back[:] == large[:]
    assert back.features == large.features
    assert back.cache_files[0]["filename"].startswith(storage)  # mapped, not read


def test_a_mapped_dataset_does_not_travel_as_a_path_of_this_machine(storage: str, tmp_path: Path) -> None:
    name = ship(mapped(tmp_path / "here"), storage, "data")
    assert str(tmp_path / "here").encode() not in local_file(name).read_bytes()
    assert len(load_shipped(name)) == 50


def test_selection_format_and_fingerprint_are_kept(storage: str) -> None:
    import torch

    chosen = rows().select([7, 3, 5]).with_format("torch", columns=["input_ids"])
    back = load_shipped(ship(chosen, storage, "data"))
    assert torch.equal(back[1]["input_ids"], torch.tensor([3, 4]))
    assert (back.format, back._fingerprint) == (chosen.format, chosen._fingerprint)


def test_a_transform_on_the_fly_is_kept(storage: str) -> None:
    shift = 10
    changed = rows().with_transform(lambda batch: {"labels": [label + shift for label in batch["labels"]]})
    assert load_shipped(ship(changed, storage, "data"))[1] == {"labels": 11}


def test_the_splits_of_one_table_are_written_once(storage: str) -> None:
    splits = rows().train_test_split(0.2, seed=0)
    back = load_shipped(ship(splits, storage, "data"))
    assert {name: split[:] for name, split in back.items()} == {name: split[:] for name, split in splits.items()}
    assert len(arrows(storage)) == 3  # the rows, and the selection of each split


def test_an_iterable_dataset_travels_with_its_steps(storage: str) -> None:
    stream = rows().to_iterable_dataset(num_shards=2).map(lambda row: {"double": row["labels"] * 2})
    assert list(load_shipped(ship(stream, storage, "data"))) == list(stream)
    assert len(arrows(storage)) > 0


def test_the_same_content_is_written_once_whoever_made_it(storage: str) -> None:
    ship(rows(), storage, "data")
    before = files(storage)
    ship({"again": rows()}, storage, "data")  # another object, of equal rows
    assert {name: files(storage)[name] for name in before} == before
    assert len(arrows(storage)) == 1


def test_other_rows_are_another_file(storage: str) -> None:
    first, second = ship(rows(50), storage, "data"), ship(rows(51), storage, "data")
    assert (len(load_shipped(first)), len(load_shipped(second))) == (50, 51)


def test_a_mapped_dataset_is_not_even_read_again(storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainables.user_trainer import shipped_tables

    data = mapped(tmp_path / "here")
    name = ship(data, storage, "data")
    before = files(storage)
    monkeypatch.setattr(shipped_tables, "_stream", None)  # whoever reads the rows fails
    assert ship(data, storage, "data") == name
    assert files(storage) == before


def test_a_file_that_changed_under_its_name_is_read_again(storage: str, tmp_path: Path) -> None:
    assert len(load_shipped(ship(mapped(tmp_path / "here", 50), storage, "data"))) == 50
    assert len(load_shipped(ship(mapped(tmp_path / "there", 51), storage, "data"))) == 51
    there, here = (next((tmp_path / place).glob("*.arrow")) for place in ("there", "here"))
    os.replace(there, here)
    from datasets import Dataset

    assert len(load_shipped(ship(Dataset.from_file(str(here)), storage, "data"))) == 51


def test_two_writers_at_once_write_the_same(storage: str) -> None:
    table, there = rows(5000).data, ShippedFiles.below(storage)
    with ThreadPoolExecutor(4) as writers:
        names = set(writers.map(lambda _: put_table(table, there), range(8)))
    assert arrows(storage) == list(names)
    assert load_table(names.pop(), there).equals(table.table)
    assert not [name for name in files(storage) if name.startswith(".")]  # nothing unfinished is left


def test_a_module_beside_the_script_travels_by_value(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "RATE = 5\ndef twice(x):\n    return 2 * x * RATE\n"
    module = own_module(tmp_path, monkeypatch, text)
    name = ship(module.twice, storage, "make_trainer")
    monkeypatch.delitem(sys.modules, "mine_alone")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
    assert load_shipped(name)(3) == 30


def test_a_function_with_a_cache_travels_with_an_empty_one(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import functools\n@functools.lru_cache(4)\ndef rows(n): return [n]\ndef make(params): return rows(params)\n"
    module = own_module(tmp_path, monkeypatch, text)
    module.rows(1)
    name = ship([module.make, module.rows], storage, "make_trainer")
    monkeypatch.delitem(sys.modules, "mine_alone")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
    make, cached = load_shipped(name)
    assert cached.cache_info() == (0, 0, 4, 0)
    assert make(3) is make(3) is cached(3)


def test_a_module_on_pythonpath_is_imported_where_it_is_needed(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    module = own_module(tmp_path, monkeypatch, "def twice(x):\n    return 2 * x\n")
    name = ship(module.twice, storage, "make_trainer")
    assert load_shipped(name) is module.twice
    monkeypatch.delitem(sys.modules, "mine_alone")
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
    with pytest.raises(InputError, match=r"cannot be imported here.*mine_alone.*PYTHONPATH"):
        load_shipped(name)


def test_a_class_of_main_travels_by_value(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    main = types.ModuleType("__main__")
    exec("class Scaled:\n    def __init__(self, by): self.by = by\n    def of(self, x): return self.by * x", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    name = ship(main.Scaled(4), storage, "trainer")
    del main.Scaled
    assert load_shipped(name).of(3) == 12


def test_no_secret_of_a_closure_is_written(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import TrainingArguments

    monkeypatch.setenv("WANDB_API_KEY", "of_the_environment")
    arguments = TrainingArguments("unused", use_cpu=True, report_to="none", hub_token="hf_secret", learning_rate=0.25)
    environment = os.environ
    name = ship(lambda: (arguments, environment), storage, "make_trainer")
    written = local_file(name).read_bytes()
    assert b"hf_secret" not in written
    assert b"of_the_environment" not in written
    back, there = load_shipped(name)()
    assert (back.hub_token, back.learning_rate) == (None, 0.25)
    assert there is os.environ
    assert arguments.hub_token == "hf_secret"


class Made:
    def __init__(self, **parts: Any) -> None:
        vars(self).update(parts)

    def read(self, trial: Any) -> Any:
        return vars(self)


class Holds(TrainerCallback):  # type: ignore[misc]
    """A callback that holds its Trainer."""

    def __init__(self, held: Any) -> None:
        self.held = held


def closing_over(lock: Any) -> Any:
    return lambda prediction: lock


@pytest.mark.parametrize(
    ("made", "path"),
    [
        (lambda lock: Made(compute_metrics=closing_over(lock)), "trainer.compute_metrics closes over `lock`"),
        (lambda lock: Made(callbacks=[Made(seen=lock)]), r"trainer.callbacks\[0\].seen"),
        (lambda lock: Made(loss=functools.partial(print, file=lock)), "trainer.loss is given `file`"),
        (lambda lock: {"head": {"lock": lock}}, r"trainer\['head'\]\['lock'\]"),
    ],
)
def test_what_does_not_pickle_is_told_by_its_path(made: Any, path: str, storage: str) -> None:
    with pytest.raises(InputError, match=rf"^{path}: .*cannot be pickled.*lock.*pass a factory"):
        ship(made(threading.Lock()), storage, "trainer")


def in_main(monkeypatch: pytest.MonkeyPatch, made: Any) -> Any:
    """The function `hp_space` of a script whose global `trainer` is the Trainer."""
    main = types.ModuleType("__main__")
    vars(main)["trainer"] = made
    exec("def hp_space(trial): return {'weight_decay': trainer.args.weight_decay}", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main.hp_space


@pytest.mark.parametrize("trained", [False, True])
def test_a_trainer_in_a_space_or_beside_a_factory_is_refused_with_its_path(
    trained: bool, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer({"max_steps": 1, "eval_strategy": "no"})
    made.add_callback(Holds(made))
    if trained:
        made.train()
    cases: list[tuple[str, Any, str]] = [
        ("hp_space", lambda trial: {"weight_decay": made.args.weight_decay}, "hp_space closes over `made`"),
        ("hp_space", in_main(monkeypatch, made), "hp_space uses the global `trainer`"),
        ("hp_space", Made(trainer=made).read, r"hp_space is a method of an object\.trainer"),
        ("make_trainer", functools.partial(trainer, train_dataset=made), "make_trainer is given `train_dataset`"),
        (
            "make_trainer",
            Extended(make_trainer, lambda metrics: made.state.epoch, None),
            "make_trainer.compute_objective closes over `made`",
        ),
    ]
    for name, held, path in cases:
        with pytest.raises(InputError, match=rf"^{path}: 'Trainer': is a Trainer, of which .*; read what it is needed"):
            ship(held, storage, name)
    assert not list(Path(storage).rglob("*.pkl"))


def test_a_space_may_hold_what_it_needs_of_a_trainer(storage: str) -> None:
    made = trainer({"weight_decay": 0.25, "hub_token": "hf_secret"})
    arguments, data = made.args, made.train_dataset
    again = load_shipped(ship(lambda trial: (arguments.weight_decay, arguments.hub_token, len(data)), storage, "space"))
    assert again(None) == (0.25, None, len(data))


def test_a_damaged_file_is_told(storage: str) -> None:
    name = ship({"a": 1}, storage, "trainer")
    local_file(name).write_bytes(b"cut")
    with pytest.raises(InputError, match="is damaged"):
        load_shipped(name)


def test_a_file_that_is_not_there_is_told_with_its_path(storage: str) -> None:
    with pytest.raises(InputError, match=r"nowhere\.pkl.*no such file on this machine"):
        load_shipped(f"shipped:{storage}/nowhere.pkl")


def test_the_folder_is_closed_to_other_accounts(storage: str) -> None:
    ship({"a": 1}, storage, "trainer")
    assert Path(storage, ".shipped").stat().st_mode & 0o077 == 0


def test_a_file_of_another_account_is_not_loaded(storage: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    name = ship({"a": 1}, storage, "trainer")
    for path in (local_file(name), local_file(name).parent):
        os.chown(path, 65534, 65534)
    with pytest.raises(InputError, match=r"belongs to another account \(uid 65534\)"):
        load_shipped(name)


def test_what_a_search_finds_is_not_removed_with_the_one_that_wrote_it(storage: str) -> None:
    name = ship({"a": 1}, storage, "trainer")
    found, file = ShippedFiles.around(local_file(name).as_posix())
    old = time.time() - 100
    os.utime(local_file(name), (old, old))
    assert ship({"a": 1}, storage, "trainer") == name  # another search, whose spec is not there yet
    found.remove(file, since=old + 1)
    assert load_shipped(name) == {"a": 1}
    found.remove(file, since=time.time() + 1)
    assert not found.renew(file)
    assert files(storage) == {}
    assert load_shipped(ship({"a": 1}, storage, "trainer")) == {"a": 1}  # written again


class TestInABucket:
    @pytest.fixture
    def storage(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
        monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "node"))
        with s3_server() as server:
            for name, value in credentials(server).items():
                monkeypatch.setenv(name, value)
            yield "s3://bucket/runs?region=us-east-1"

    def test_a_node_maps_its_copy_of_what_lies_there(self, storage: str, tmp_path: Path) -> None:
        data = rows()
        name = ship(lambda: data, storage, "make_trainer")
        assert name.startswith("shipped:s3://bucket/runs/.shipped/make_trainer-")
        back = load_shipped(name)()
        assert back[:] == data[:]
        assert back.cache_files[0]["filename"].startswith(str(tmp_path / "node"))

    def test_nothing_is_uploaded_twice(self, storage: str) -> None:
        from pyarrow.fs import FileSelector, FileSystem

        def objects() -> dict[str, Any]:
            filesystem, path = FileSystem.from_uri(storage)
            found = filesystem.get_file_info(FileSelector(path, recursive=True))
            return {info.path: info.mtime for info in found if not info.path.endswith(USED)}

        data = rows()
        name = ship(data, storage, "data")
        before = objects()
        assert ship(data, storage, "data") == name
        assert objects() == before

    def test_what_a_search_finds_is_not_removed_with_the_one_that_wrote_it(self, storage: str) -> None:
        name = ship({"a": 1}, storage, "trainer")
        found, file = ShippedFiles.around(name.removeprefix(SHIPPED))
        written = found.stated([file])[file].used
        time.sleep(1.1)  # S3 tells whole seconds
        ship({"a": 1}, storage, "trainer")
        found.remove(file, since=written)
        assert found.has(file)
        found.remove(file, since=time.time() + 2)
        assert not found.has(file)
        assert not found.has(f"{file}{USED}")
