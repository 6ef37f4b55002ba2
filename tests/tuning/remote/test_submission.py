"""From a spec to a job, without a cluster: its id, the files that go along, what is refused before anything is sent."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.capacity import ClusterError
from cluster.jobs.dashboard import Dashboard
from cluster.jobs.submission import UPLOAD_LIMIT, cluster_error
from tests.support.user_trainers import rows
from trainables.errors import InputError
from trainables.tasks import find_task
from trainables.tasks.files import split_files
from trainables.user_trainer.shipped import load_shipped, ship
from tuning import load_spec
from tuning.remote.submission import code_files, prepare_submission
from tuning.remote.uploads import UPLOADS, store_uploads, write_archive
from tuning.spec.mistakes import SpecError

pytestmark = pytest.mark.unit

ROWS = "text,label\n" + "".join(f"row {i},{i % 2}\n" for i in range(40))
SPEC: dict[str, Any] = {
    "name": "mine",
    "task": "text_classification",
    "model": "some/hub-id",
    "data": {"text": ["text"], "label": "label"},
    "epochs": 1,
    "space": {"learning_rate": {"choice": [1e-4, 1e-3]}},
    "strategies": [{"kind": "grid"}],
}


@pytest.fixture(autouse=True)
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a working directory with data in all ways that a spec can name them."""
    monkeypatch.chdir(tmp_path)
    for name in ("rows.csv", "split/train.csv", "split/dev.csv", "split/notes.md", "other/dev.csv"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(ROWS.replace("row", name))
    return tmp_path


def written(**sections: Any) -> str:
    data = {**SPEC["data"], **sections.pop("data", {})}
    Path("spec.yaml").write_text(yaml.safe_dump({**SPEC, "data": data, **sections}))
    return "spec.yaml"


@pytest.mark.parametrize(
    ("data", "files"),
    [
        ({"path": "rows.csv"}, {"train": "rows.csv"}),
        ({"path": "rows.csv", "validation": "split/dev.csv"}, {"train": "rows.csv", "validation": "split/dev.csv"}),
        ({"path": "split"}, {"train": "split/train.csv", "validation": "split/dev.csv"}),
        (
            {"path": "split", "validation": "../other/dev.csv"},
            {"train": "split/train.csv", "validation": "other/dev.csv"},
        ),
        ({"train": "rows.csv", "test": "other/dev.csv"}, {"train": "rows.csv", "test": "other/dev.csv"}),
    ],
)
def test_the_cluster_reads_the_same_rows_from_its_own_copy(
    data: Mapping[str, str], files: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = prepare_submission(written(data=data, cluster={"storage": str(tmp_path / "storage")}), [], [])
    for upload in submission.uploads:
        target = tmp_path / "job" / upload.target
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(upload.source.read_bytes())
    expected = {split: Path(name).read_text() for split, name in files.items()}
    store_uploads(tmp_path / "job", tmp_path / "storage")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    there = load_spec(yaml.safe_load(submission.spec.to_yaml()))
    found = split_files(find_task(there.task).options(there.data))
    assert {split: path.read_text() for split, (path,) in found.items()} == expected
    assert all(path.is_relative_to(tmp_path / "storage" / UPLOADS) for (path,) in found.values())


def test_a_local_model_goes_along_with_all_its_files(tiny_model: Path) -> None:
    submission = prepare_submission(written(data={"path": "rows.csv"}, model=str(tiny_model)), [], [])
    sent = {upload.source.name for upload in submission.uploads if upload.source.parent == tiny_model}
    assert sent == {path.name for path in tiny_model.iterdir()}
    assert submission.spec.model.startswith("~/runs/.uploads/")
    assert submission.spec.model.endswith(tiny_model.name)


def test_the_id_is_the_experiments_and_changes_with_what_changes_it() -> None:
    def identify(*overrides: str) -> str:
        return prepare_submission(written(data={"path": "rows.csv"}), overrides, []).id

    first = identify()
    assert first.startswith("mine-")
    assert len(first) == len("mine-") + 12
    assert identify("max_failures=2", "wandb.mode=disabled") == first  # how it is run, not what comes out
    Path("rows.csv").rename("moved.csv")
    Path("rows.csv").write_bytes(Path("moved.csv").read_bytes())
    assert identify() == first
    others = {identify("epochs=2"), identify("name=yours"), identify("cluster.storage=/elsewhere")}
    Path("rows.csv").write_text(ROWS + "one more,1\n")
    assert len({first, *others, identify()}) == 5


def test_an_extension_has_an_id_of_its_own_for_each_that_is_asked_for() -> None:
    """The job of the seeds of before has succeeded, and one that was refused for want of --extend has failed."""

    def identify(*overrides: str, extend: bool) -> str:
        return prepare_submission(written(data={"path": "rows.csv"}), overrides, [], extend=extend).id

    four, five = "seeds=[0,1,2,3]", "seeds=[0,1,2,3,4]"
    ids = [identify(extend=False), *(identify(seeds, extend=extend) for seeds in (four, five) for extend in (0, 1))]
    assert len({*ids}) == 5
    assert identify(four, extend=True) == identify(four, extend=False) + "-extend"
    grown = "extended=[{seeds: 3, strategies: 1, judged: true}]"  # as in the spec of an experiment that was fetched
    submission = prepare_submission(written(data={"path": "rows.csv"}), [four, grown], [])
    assert (submission.spec.extended, submission.id) == ((), identify(four, extend=False))


def test_equal_submissions_are_equal_archives(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_archive(tmp_path / name, [("x/rows.csv", Path("rows.csv")), ("spec.yaml", b"name: mine"), *code_files()])
        os.utime("rows.csv", (1e9, 1e9))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "out")
    assert (tmp_path / "out/x/rows.csv").read_text() == Path("rows.csv").read_text()
    assert (tmp_path / "out/tuning/examples/quickstart.yaml").is_file()
    assert (tmp_path / "out/cluster/__init__.py").is_file()


@pytest.mark.parametrize(
    ("extend", "attempt", "force", "suffix", "words"),
    [
        (False, 0, False, "", "run"),
        (False, 1, False, "-r1", "resume"),
        (False, 2, True, "-r2", "resume --force"),
        (True, 0, False, "", "extend"),
        (True, 0, True, "", "extend --force"),
        (True, 1, True, "-r1", "extend --resume --force"),
    ],
)
def test_what_goes_on_with_a_job_is_a_job_of_its_own_that_resumes(
    extend: bool, attempt: int, force: bool, suffix: str, words: str, tmp_path: Path
) -> None:
    class Head(Dashboard):
        """A dashboard that needs no connection."""

        def python(self) -> str:
            return "/ray/bin/python"

    submission = prepare_submission(written(data={"path": "rows.csv"}), [], [], extend=extend)
    job = submission.job(tmp_path / "job.zip", Head("http://head:8265", None), attempt, force=force)
    assert job.id == submission.id + suffix
    assert job.command == f"exec /ray/bin/python -m tuning.cli.job {words}"
    assert job.metadata["experiment"] == "mine"


def test_too_much_for_an_upload_is_refused_with_the_largest_files_and_what_to_do() -> None:
    with Path("split/train.csv").open("a") as file:
        file.truncate(UPLOAD_LIMIT)  # a sparse file
    with pytest.raises(InputError) as caught:
        prepare_submission(written(data={"path": "split"}, trainable="json:loads"), [], [])
    told = str(caught.value)
    assert "100 MiB" in told
    assert "split/train.csv (100 MiB)" in told
    assert "--on-cluster data" in told


def test_of_a_trainer_of_ones_own_its_module_and_that_of_its_space_go_along_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(os.getcwd())
    Path("trainer_of_mine.py").write_text("def make_trainer(params): ...\n")
    Path("space_of_mine.py").write_text("def hp_space(trial): ...\n")
    raw = {name: SPEC[name] for name in ("name", "epochs", "strategies")}
    own = {"trainable": "trainer_of_mine:make_trainer", "space": "space_of_mine:hp_space"}
    Path("spec.yaml").write_text(yaml.safe_dump({**raw, **own}))
    submission = prepare_submission("spec.yaml", [], [])
    assert submission.uploads == ()
    names = [name for name, _ in code_files(submission.spec)]
    assert {"trainer_of_mine.py", "space_of_mine.py"} <= {*names}
    example = load_spec("plain-loop")  # lies in a package of ours, which goes along anyway
    assert [name for name, _ in code_files(example)] == [name for name, _ in code_files()]


def test_what_a_search_from_python_has_shipped_goes_along_with_its_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, factor = rows(8), 3.0

    def hp_space(trial: Any) -> dict[str, float]:
        return {"scale": factor * trial.suggest_float("x", 0, 1)}

    raw = {name: SPEC[name] for name in ("name", "epochs")} | {"strategies": [{"kind": "random", "trials": 2}]}
    shipped = {
        "trainable": ship(lambda params: data, "runs", "make_trainer"),
        "space": ship(hp_space, "runs", "hp_space"),
    }
    Path("spec.yaml").write_text(yaml.safe_dump({**raw, **shipped}))
    submission = prepare_submission("spec.yaml", [], [])
    assert sorted(Path(upload.target).suffix for upload in submission.uploads) == [".arrow", ".pkl", ".pkl"]
    home = tmp_path / "home"
    for source, target in submission.uploads:
        (tmp_path / "uploaded" / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / "uploaded" / target)
    shutil.rmtree("runs")  # as on another machine
    store_uploads(tmp_path / "uploaded", home / "runs")
    monkeypatch.setenv("HOME", str(home))
    there = load_spec(submission.spec.plain())
    assert load_shipped(there.trainable)({})[:] == data[:]
    assert there.space_of(there.strategies[0]).names == ("x",)
    with pytest.raises(InputError, match=r"trials read no files from a bucket; .*storage in a bucket"):
        prepare_submission(there, ["cluster.storage=s3://bucket/runs"], [])


def test_paths_of_the_cluster_are_left_as_they_are() -> None:
    submission = prepare_submission(
        written(data={"path": "/shared/rows"}, model="/shared/model"), [], ["data", "model"]
    )
    assert (submission.spec.data.path, submission.spec.model) == ("/shared/rows", "/shared/model")
    assert submission.uploads == ()
    with pytest.raises(SpecError, match="no such file or folder"):
        prepare_submission("spec.yaml", [], ["model"])


def test_what_only_the_cluster_can_know_refuses_nothing_here() -> None:
    overrides = ["cluster.storage=/proc/no/such", "wandb.key_file=/secrets/wandb", "wandb.mode=online"]
    submission = prepare_submission(written(data={"path": "rows.csv"}), [*overrides, "cluster.gpus_per_trial=1"], [])
    assert submission.spec.cluster.address == "auto"
    assert submission.run_folder == "/proc/no/such/mine"


@pytest.mark.parametrize(
    ("declared", "there"), [("runs", "~/runs"), ("./a/b/", "~/a/b"), ("~/x", "~/x"), ("/data/runs", "/data/runs")]
)
def test_a_relative_storage_lies_in_the_home_of_the_clusters_account(declared: str, there: str) -> None:
    spec = written(data={"path": "rows.csv"}, cluster={"storage": declared})
    assert prepare_submission(spec, [], []).spec.cluster.storage == there


def test_an_uploaded_file_that_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    source = tmp_path / "job/0123/rows.csv"
    source.parent.mkdir(parents=True)
    source.write_text(ROWS)
    store_uploads(tmp_path / "job", tmp_path / "storage")
    target = tmp_path / "storage" / UPLOADS / "0123/rows.csv"
    before = target.stat()
    store_uploads(tmp_path / "job", tmp_path / "storage")
    assert target.stat().st_ino == before.st_ino
    for damaged in ("half", ROWS.replace("0", "1", 1)):  # as a full disk would leave it; of the same size
        target.write_text(damaged)
        store_uploads(tmp_path / "job", tmp_path / "storage")
        assert target.read_text() == ROWS
    assert [path.name for path in target.parent.iterdir()] == ["rows.csv"]


def test_a_refusal_by_the_server_is_reported_in_the_users_terms() -> None:
    assert isinstance(
        cluster_error("http://head", "Request failed with status code 404: Job x does not exist."), ClusterError
    )
    assert "--on-cluster" in str(
        cluster_error("http://head", "Request failed with status code 413: Payload too large.")
    )
    text = "Request failed with status code 500: Traceback\n  File x\nValueError: no agent."
    assert "ValueError: no agent." in str(cluster_error("http://head", text))
