"""A head cannot harm whoever fetches from it: it writes to one folder only, and no code of it runs."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.head_server import HeadServer, bundle, tarred
from tests.support.serving import serving
from trainables.data.row_hashes import hashes_of
from tuning.cli import main
from tuning.errors import RunFolderError
from tuning.experiment import run_experiment
from tuning.outcome import FinalModel
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.remote.unpacking import BundleError, unpack
from tuning.run_folder.folder import claim_run_folder
from tuning.selection.evaluations import final_evaluation_id
from tuning.spec.loading import load_spec
from tuning.spec.store_url import sqlite_url
from tuning.store.evaluation_ledger import EvaluationLedger, TestRows
from tuning.store.study_store import StudyStore
from tuning.testing.recording import begin_trial, make_report, open_study

pytestmark = pytest.mark.unit

SPEC: dict[str, Any] = {
    "name": "reviews",
    "task": "reviews",
    "trainable": "learning_curve",
    "epochs": 1,
    "space": {"learning_rate": {"choice": [0.1, 0.2]}},
    "strategies": [{"kind": "grid"}],
    "cluster": {"address": "203.0.113.7:6379", "storage": "/elsewhere", "cpus_per_trial": 2},
}
Member = tuple[tarfile.TarInfo | str, bytes]


@pytest.fixture(autouse=True)
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a working directory, beside a file that nothing may overwrite."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "laptop").mkdir()
    monkeypatch.chdir(tmp_path / "laptop")
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "laptop"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    """Returns the files of a small experiment, as a cluster packs them."""
    file = tmp_path_factory.mktemp("cluster") / "study.db"
    store = StudyStore(sqlite_url(file))
    writer = open_study(store, spec_yaml=yaml.safe_dump(SPEC))
    begin_trial(writer, "a")
    writer.add_report("a", make_report(1, 0.75))
    store.close()
    return [
        ("reviews/spec.yaml", yaml.safe_dump(SPEC).encode()),
        ("reviews/study.db", file.read_bytes()),
        ("reviews/studies/grid-seed-0/Slot_a_0_learning_rate=0.1/result.json", b"{}"),
        ("reviews/best/best.yaml", b"learning_rate: 0.1\n"),
        ("reviews/best/model.safetensors", b"weights"),
    ]


def fetched(head: HeadServer, *words: str) -> int:
    with serving(head):
        return main(["fetch", "reviews", "--address", head.url, *words])


def test_what_an_honest_cluster_packs_comes_whole_and_names_nobody_to_talk_to(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = HeadServer(bundle(tarred(honest)))
    assert fetched(head) == 0, capsys.readouterr().err
    folder = laptop / "runs/reviews"
    for name, content in honest[2:]:
        assert (laptop / "runs" / str(name)).read_bytes() == content
    spec = yaml.safe_load((folder / "spec.yaml").read_text())
    assert spec["cluster"] == {"cpus_per_trial": 2}
    assert spec["epochs"] == 1
    assert json.loads((folder / "fetched.json").read_text())["job"] == "first"
    assert head.jobs == {}, "the job that packs is stopped and forgotten"


def test_what_was_fetched_is_closed_to_other_accounts_and_rm_takes_all_of_it(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(HeadServer(bundle(tarred(honest)))) == 0, capsys.readouterr().err
    folder = laptop / "runs/reviews"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert main(["rm", "reviews", "--yes"]) == 0, capsys.readouterr().err
    assert not folder.exists()


def kind_of_file(kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Makes a member of the tar that is no plain file."""
    member = tarfile.TarInfo("reviews/best/tokenizer.json")
    member.type, member.linkname = kind, target
    return member


def sparse_file() -> tarfile.TarInfo:
    member = tarfile.TarInfo("reviews/best/tokenizer.json")
    member.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1",
                          "GNU.sparse.size": str(1 << 40)}  # fmt: skip
    return member


@pytest.mark.parametrize(
    ("member", "told"),
    [
        ("../precious", "lies outside reviews"),
        ("reviews/../../precious", "lies outside reviews"),
        ("reviews/best/../../../precious", "lies outside reviews"),
        ("/tmp/tunefleet-precious", "lies outside reviews"),
        ("precious", "lies outside reviews"),
        ("other/spec.yaml", "lies outside reviews"),
        ("reviews/best/a\\..\\b.json", "lies outside reviews"),
        ("reviews/best/a\x1b[2J.json", "lies outside reviews"),
        ("reviews/fetched.json", "is no file of a bundle"),
        ("reviews/driver.lock", "is no file of a bundle"),
        ("reviews/studies/grid-seed-0/tuner.pkl", "is no file of a bundle"),
        ("reviews/studies/grid-seed-0/searcher.pickle", "is no file of a bundle"),
        ("reviews/studies/error.py", "is no file of a bundle"),
        ("reviews/best/deep/config.json", "is no file of a bundle"),
        ("reviews/best/best.yaml", "is in the bundle twice"),
        (kind_of_file(tarfile.SYMTYPE, "../../../../precious"), "is no plain file"),
        (kind_of_file(tarfile.LNKTYPE, "../precious"), "is no plain file"),
        (kind_of_file(tarfile.FIFOTYPE), "is no plain file"),
        (kind_of_file(tarfile.CHRTYPE), "is no plain file"),
        (kind_of_file(tarfile.DIRTYPE), "is no plain file"),
        (sparse_file(), "is no plain file"),
    ],
    ids=lambda case: case.name + case.type.decode() if isinstance(case, tarfile.TarInfo) else None,
)
def test_a_bundle_with_anything_else_in_it_is_refused(
    member: tarfile.TarInfo | str, told: str, honest: list[Member], laptop: Path
) -> None:
    whole = laptop.parent / "bundle.tar"
    whole.write_bytes(tarred([*honest, (member, b"")]))
    with pytest.raises(BundleError, match=re.escape(told)):
        unpack(whole, "reviews", laptop, trusted=True)
    assert (laptop.parent / "precious").read_text() == "mine"
    assert sorted(path.name for path in laptop.parent.iterdir()) == ["bundle.tar", "laptop", "precious"]


@pytest.mark.parametrize("name", ["../precious", "reviews/best/../../../../precious", "/tmp/precious"])
def test_a_head_that_names_a_file_outside_overwrites_nothing_and_leaves_nothing(
    name: str, honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(HeadServer(bundle(tarred([*honest, (name, b"theirs")])))) == 1
    assert "lies outside reviews" in capsys.readouterr().err
    assert_nothing_came(laptop)


def assert_nothing_came(laptop: Path) -> None:
    assert (laptop.parent / "precious").read_text() == "mine"
    assert [path for path in laptop.rglob("*") if path != laptop / "runs"] == []


def test_a_link_cannot_turn_a_later_file_out_of_the_folder(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    door = tarfile.TarInfo("reviews/studies")
    door.type, door.linkname = tarfile.SYMTYPE, str(laptop.parent)
    members: list[Member] = [(door, b""), ("reviews/studies/precious.txt", b"theirs"), *honest]
    assert fetched(HeadServer(bundle(tarred(members)))) == 1
    assert "is no plain file" in capsys.readouterr().err
    assert not (laptop.parent / "precious.txt").exists()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "../../../precious"}, "names '../../../precious' as part 0"),
        ({"name": "/tmp/tunefleet-precious"}, "as part 0, where part-00000 is expected"),
        ({"name": "part-00001"}, "where part-00000 is expected"),
        ({"name": "study.db"}, "where part-00000 is expected"),
        ({"name": 5}, "where part-00000 is expected"),
        ({"size": -1}, "-1 bytes, but a part has"),
        ({"size": 1 << 40}, "bytes, but a part has"),
        ({"size": "8"}, "'8' bytes, but a part has"),
        ({"sha256": None}, "its digest is none"),
    ],
)
def test_a_manifest_that_names_other_parts_is_refused_before_one_is_asked_for(
    changed: dict[str, Any],
    told: str,
    honest: list[Member],
    laptop: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fetched(HeadServer(bundle(tarred(honest), **changed))) == 1
    assert told in capsys.readouterr().err
    assert_nothing_came(laptop)


@pytest.mark.parametrize("text", [b"[]", b'{"parts": 3}', b'{"parts": [1]}', b"[" * 100_000, b"null"])
def test_a_manifest_that_is_none_is_told(text: bytes, laptop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetched(HeadServer({"manifest.json": text})) == 1
    assert "is no manifest" in capsys.readouterr().err
    assert_nothing_came(laptop)


@pytest.mark.parametrize("name", ["manifest.json", "part-00000"])
def test_a_file_that_does_not_end_is_given_up(
    name: str, honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = HeadServer(bundle(tarred(honest)), endless=[name])
    assert fetched(head) == 1
    assert "is longer than the" in capsys.readouterr().err
    assert head.sent < 200 << 20
    assert_nothing_came(laptop)


def test_more_than_the_disk_holds_is_refused_before_it_is_asked_for(
    laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = {"size": 32 << 20, "sha256": "0" * 64}
    parts = [{"name": f"part-{number:05d}", **part} for number in range(100_000)]  # 3 TB
    assert fetched(HeadServer({"manifest.json": json.dumps({"parts": parts}).encode()})) == 2
    assert "has too little room" in capsys.readouterr().err
    assert_nothing_came(laptop)


@pytest.mark.parametrize("name", ["../precious", "/tmp/precious", "..", ".", "a/b", ""])
def test_an_experiment_whose_name_is_a_path_is_refused(
    name: str, honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = HeadServer(bundle(tarred(honest)), name=name)
    with serving(head):
        assert main(["fetch", "first", "--address", head.url]) == 1
    assert f"its experiment is called {name!r}" in capsys.readouterr().err
    assert_nothing_came(laptop)


def test_weights_that_may_run_code_when_loaded_are_left_out_unless_asked_for_by_name(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = pickle.dumps(print)
    members: list[Member] = [*honest, ("reviews/best/model.pt", evil), ("reviews/best/modeling.py", b"")]
    assert fetched(HeadServer(bundle(tarred(members)))) == 0
    assert "left out, since loading them may run code of the cluster's: best/model.pt, best/modeling.py" in (
        capsys.readouterr().err
    )
    assert {path.name for path in (laptop / "runs/reviews/best").iterdir()} == {"best.yaml", "model.safetensors"}
    assert fetched(HeadServer(bundle(tarred(members))), "--trust-cluster") == 0
    assert (laptop / "runs/reviews/best/model.pt").read_bytes() == evil


def test_trust_remote_code_does_not_come_along_silently(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = yaml.safe_dump(SPEC | {"trust_remote_code": True}).encode()
    members = [(name, spec if name == "reviews/spec.yaml" else content) for name, content in honest]
    kept = laptop / "runs/reviews/spec.yaml"
    assert fetched(HeadServer(bundle(tarred(members)))) == 0
    assert "trust_remote_code is false in the spec that was fetched" in capsys.readouterr().err
    assert yaml.safe_load(kept.read_text())["trust_remote_code"] is False
    assert fetched(HeadServer(bundle(tarred(members))), "--trust-cluster") == 0
    assert yaml.safe_load(kept.read_text())["trust_remote_code"] is True


def test_a_spec_of_another_experiment_is_refused(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = yaml.safe_dump(SPEC | {"name": "../elsewhere"}).encode()
    members = [(name, spec if name == "reviews/spec.yaml" else content) for name, content in honest]
    assert fetched(HeadServer(bundle(tarred(members)))) == 1
    assert "is of the experiment '../elsewhere', not 'reviews'" in capsys.readouterr().err
    assert_nothing_came(laptop)


def test_nothing_is_gone_on_with_that_was_fetched_unless_asked_for_by_name(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(HeadServer(bundle(tarred(honest)))) == 0
    capsys.readouterr()
    for insist in ([], ["--force"]):
        assert main(["resume", "reviews", *insist]) == 2
        assert "was fetched from a cluster" in capsys.readouterr().err
    spec = load_spec(laptop / "runs/reviews/spec.yaml")
    with pytest.raises(RunFolderError, match="--trust-fetched"):
        run_experiment(spec, resume=True, force=True)
    claim_run_folder(spec, resume=True, trust_fetched=True)
    claim_run_folder(spec, resume=True)  # said once, it is this machine's, and no fetch replaces it any more
    assert fetched(HeadServer(bundle(tarred(honest)))) == 2
    assert "holds something that did not come from a cluster" in capsys.readouterr().err


def test_what_needs_the_data_of_the_cluster_is_gone_on_with_there(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"path": "/cluster/rows.csv", "text": ["text"], "label": "label"}
    spec = yaml.safe_dump(SPEC | {"task": "text_classification", "trainable": "finetune", "data": data}).encode()
    members = [(name, spec if name == "reviews/spec.yaml" else content) for name, content in honest]
    assert fetched(HeadServer(bundle(tarred(members)))) == 0
    capsys.readouterr()
    for words in (["resume", "reviews"], ["extend", "reviews", "seeds=[0, 1]"]):
        assert main([*words, "--trust-fetched"]) == 2
        told = capsys.readouterr().err
        assert "/cluster/rows.csv" in told
        assert "on its cluster the same `tunefleet submit` goes on with --resume, --extend" in told


def test_a_second_fetch_keeps_the_looks_at_test_that_were_recorded_here(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(HeadServer(bundle(tarred(honest)))) == 0
    looks = [FinalModel("/m", "a", 1.0, seed, {"accuracy": 0.5}, 100, 1.5, 7.0) for seed in (0, 1)]

    def recorded(act: Callable[[StudyStore], Any]) -> Any:
        store = StudyStore(sqlite_url(laptop / "runs/reviews/study.db"))
        try:
            return act(store)
        finally:
            store.close()

    def look(store: StudyStore) -> None:
        for model in looks:
            store.writer("reviews", store.load("reviews").studies[0]).add_final(model)

    recorded(look)
    for _ in range(2):
        assert fetched(HeadServer(bundle(tarred(honest)))) == 0, capsys.readouterr().err
        assert recorded(lambda store: store.load("reviews").studies[0].finals) == tuple(looks)
    assert json.loads((laptop / "runs/reviews/results.json").read_text())["studies"][0]["finals"] != []


def test_a_fetch_brings_looks_into_the_ledger_and_a_shown_score_stays_shown(
    honest: list[Member], laptop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(HeadServer(bundle(tarred(honest)))) == 0
    store, ledger = laptop / "runs/reviews/study.db", EvaluationLedger(laptop / "runs")
    assert ledger.read().entries == {}  # of a version that recorded no rows
    hidden = FinalModel("/m", "a", 1.0, 0, {}, 100, 1.5, 7.0, "packed")
    shown = FinalModel("/m", "a", 1.0, 0, {"accuracy": 0.5}, 100, 1.5, 7.0)

    def tell(model: FinalModel) -> None:
        with contextlib.closing(StudyStore(sqlite_url(store))) as opened:
            (study, *_) = opened.load("reviews").studies
            writer = opened.writer("reviews", study)
            writer.add_final(model)
            writer.set_test_rows(
                TestRows.of(hashes_of([("a",), ("b",)])).to_json(), EarlierEvaluations(2, 0, 0, (), 0, 0, ())
            )

    tell(hidden)
    with_rows = [(name, store.read_bytes() if name == "reviews/study.db" else content) for name, content in honest]
    tell(shown)
    assert fetched(HeadServer(bundle(tarred(with_rows)))) == 0, capsys.readouterr().err
    with contextlib.closing(StudyStore(sqlite_url(store))) as opened:
        (study, *_) = opened.load("reviews").studies
    assert study.finals == (shown,)
    assert list(ledger.read().entries) == [final_evaluation_id("reviews", study, shown)]


def test_what_a_cluster_says_reaches_no_terminal_as_a_command(laptop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wiped = "\x1b[2J\x1b]0;title\x07"
    head = HeadServer({"manifest.json": json.dumps({"parts": [], "error": f"none{wiped}"}).encode()})
    assert fetched(head) == 1
    with serving(HeadServer({}, name=f"reviews{wiped}")) as other:
        for words in (["jobs"], ["status", "first"], ["fetch", "first"]):
            main([*words, "--address", other.url])
    said = "".join(capsys.readouterr())
    assert "reviews" in said
    assert "\x1b" not in said
    assert "\x07" not in said
