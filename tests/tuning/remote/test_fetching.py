"""A head cannot harm whoever fetches from it: it writes to one folder only, and no code of it runs."""

from __future__ import annotations

import json
import pickle
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.fetching import SPEC, Member, fetched
from tests.support.head_server import HeadServer, bundle, tarred
from tests.support.serving import serving
from tuning.cli import main
from tuning.remote.unpacking import BundleError, unpack

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("laptop")]


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
def test_a_manifest_that_is_none_is_reported(text: bytes, laptop: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
