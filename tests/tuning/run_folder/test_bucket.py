"""Runs in a bucket: what a URI may say, what is whole there, what another machine goes on from.

On a server that speaks S3; what a storage promises also on one that speaks Google's protocol.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import shutil
import socket
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.capacity import ClusterError
from cluster.storage import PROOF, below, open_bucket, probe, reason, refusal, shown
from tests.support.drivers import Drivers
from tests.support.slots import A, saved, slot_of, state_of
from tests.support.stopped_runs import SECONDS, memory_of, outcomes, spec_of, stop_after
from trainables.bucket import COMPLETE, BucketStorage
from trainables.checksums import CHECKSUMS
from trainables.finetune import FineTuning
from trainables.recipe import MOMENTS, RECIPE, SPARE, Recipe, full, weights
from trainables.shared_memory import SharedMemory
from trainables.spec import FineTuneSpec, Subset
from trainables.states import Keeping, scorable
from trainables.storage import FOLDERS, Storage
from tuning import load_spec, run_experiment
from tuning.checks.mistakes import SpecError
from tuning.experiments import find_store, names_in
from tuning.jobs.parcel import pack
from tuning.outcome import StudyState
from tuning.run.folder import RunFolderError, claim_run_folder
from tuning.store.study_store import StudyStore

moto = pytest.importorskip("moto.server", reason="moto is not installed")

CANARY = "canary-of-the-secret-key"
HERE = "this node"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Its URL; it has a bucket named `bucket`."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    send(f"{url}/bucket", "PUT")
    yield url
    server.stop()


def send(url: str, method: str, data: bytes = b"") -> None:
    headers = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=30).close()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of an empty folder of the test's own; the environment has the credentials and the server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):  # pyarrow reads the one, boto3 the other
        monkeypatch.setenv(name, "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "machine"))
    return f"s3://bucket/{abs(hash(request.node.name))}"


def objects(uri: str) -> list[str]:
    """The names of all objects below, relative to it."""
    from pyarrow.fs import FileSelector

    filesystem, path = open_bucket(uri)
    found = filesystem.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    return sorted(info.path.removeprefix(f"{path}/") for info in found if info.is_file)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("s3://somebody:canary@bucket/runs", "credentials must not stand in it"),
        ("s3://bucket/runs?access_key=somebody&secret_key=canary", "credentials must not stand in it"),
        ("s3://bucket/runs?session_token=canary", "credentials must not stand in it"),
        ("gs://anonymous@bucket/runs", "nobody may do anonymously"),
        ("s3://", "names no bucket"),
        ("s3://My Bucket/runs", "names no bucket"),
        ("s3://bucket//runs", "plain folder names"),
        ("s3://bucket/runs?regoin=eu-central-1", "unknown option regoin"),
        ("ftp://host/runs", "must be a folder that every node reaches, s3://BUCKET/FOLDER"),
    ],
)
def test_a_uri_that_cannot_be_a_storage_is_a_mistake_of_the_spec_and_shows_no_secret(uri: str, told: str) -> None:
    with pytest.raises(SpecError) as error:
        load_spec({**spec_of(Path("runs"), "grid", 0.0), "cluster": {"storage": uri}})
    assert "cluster.storage" in str(error.value)
    assert told in str(error.value)
    assert "canary" not in str(error.value)
    assert "canary" not in shown(uri)
    with pytest.raises(ClusterError, match=r"cluster\.storage"):
        open_bucket(uri)


@pytest.mark.unit
@pytest.mark.parametrize(
    "uri", ["s3://bucket", "s3://bucket/a/b", "gs://bucket/a", "s3://bucket/a?region=eu-central-1&scheme=https"]
)
def test_a_bucket_with_folders_and_options_can_be_one(uri: str) -> None:
    assert refusal(uri) is None
    assert below(uri, "c") == f"{uri.partition('?')[0]}/c{''.join(uri.partition('?')[1:])}"


@pytest.mark.unit
def test_the_probe_leaves_nothing_behind_and_no_credential_is_pickled(bucket: str) -> None:
    probe(bucket)
    assert objects(bucket) == []
    opened = pickle.dumps(open_bucket(bucket))
    assert CANARY.encode() not in opened
    assert b"somebody" not in opened


@pytest.mark.unit
def test_the_probe_tells_a_missing_bucket(bucket: str) -> None:
    with pytest.raises(ClusterError, match=r"cluster.storage: s3://nowhere/runs cannot .*there is no such bucket"):
        probe("s3://nowhere/runs")


@pytest.mark.system
def test_the_probe_tells_a_server_that_does_not_answer(bucket: str) -> None:
    with pytest.raises(ClusterError, match=r"cannot be reached; look at the network, the region and the endpoint"):
        probe("s3://bucket/runs?endpoint_override=127.0.0.1:9&scheme=http")


@pytest.mark.unit
def test_the_probe_tells_credentials_that_are_not_known_from_those_that_may_not(
    bucket: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3

    identities = boto3.client("iam")
    identities.create_user(UserName="guest")
    key = identities.create_access_key(UserName="guest")["AccessKey"]
    send(f"{server}/moto-api/reset-auth", "POST", b"0")  # from now on it looks at who asks
    try:
        with pytest.raises(ClusterError, match="no valid credentials on this machine; give it an instance role"):
            probe(bucket)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        with pytest.raises(ClusterError, match=r"may not do that; allow them to list the bucket"):
            probe(bucket)
    finally:
        send(f"{server}/moto-api/reset-auth", "POST", b"inf")


@pytest.mark.unit
def test_what_googles_client_says_without_credentials_is_understood() -> None:
    """As pyarrow 26 raised it on a machine without any."""
    said = OSError(
        "google::cloud::Status(UNAVAILABLE: Retry policy exhausted, with a last message of Could not create a OAuth2 "
        "access token to authenticate the request. The request was not sent, as such an access token is required"
    )
    told = reason("gs://bucket/runs", said)
    assert told.startswith(f"no valid credentials on this machine; give it {PROOF['gs']}")


# What `Storage` promises, of both kinds.


@pytest.fixture(params=["folder", "s3", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Storage, str]:
    """A storage and Tune's folder of a study in it."""
    if request.param == "folder":
        return FOLDERS, str(tmp_path / "study")
    if request.param == "s3":
        return in_bucket(request.getfixturevalue("bucket"))
    from pyarrow.fs import GcsFileSystem

    files = GcsFileSystem(anonymous=True, scheme="http", endpoint_override=request.getfixturevalue("googles"))
    run = f"bucket/{abs(hash(request.node.name))}"
    return BucketStorage(
        files, "gs://", f"{run}/studies/grid-seed0", f"{run}/states/grid-seed0"
    ), f"{run}/studies/grid-seed0"


@pytest.fixture(scope="module")
def googles() -> Iterator[str]:
    """Host and port of a server with a bucket named `bucket`."""
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="gcp-storage-emulator is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop()


def in_bucket(uri: str) -> tuple[BucketStorage, str]:
    filesystem, path = open_bucket(uri)
    study = f"{path}/studies/grid-seed0"
    return BucketStorage(filesystem, "s3://", study, f"{path}/states/grid-seed0"), study


def checkpoint(storage: Storage, study: str, trial: str, recipe: Recipe, source: Path) -> str:
    """As Tune leaves it."""
    from pyarrow.fs import LocalFileSystem, copy_files

    path = f"{study}/{trial}/checkpoint_000001"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    recipe.write(source)
    filesystem = storage.filesystem or LocalFileSystem()
    filesystem.create_dir(path)
    copy_files(str(source), path, destination_filesystem=filesystem)
    return path


def state(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "weights").write_text("w")
    (folder / MOMENTS).write_text("m")
    return folder


@pytest.mark.unit
def test_a_copy_can_be_gone_on_from_then_scored_and_goes_with_its_checkpoint(
    place: tuple[Storage, str], tmp_path: Path
) -> None:
    storage, study = place
    recipe = Recipe.after(None, {}, 1, moments=True, node=HERE)
    path = checkpoint(storage, study, "a", recipe, tmp_path / "source")
    assert storage.recipe(path) == recipe
    assert storage.checkpoints(study) == [path]
    assert not storage.holds(path, recipe, weights_only=True)
    assert storage.find(recipe.token, tmp_path / "downloaded", tmp_path) is None

    storage.put(state(tmp_path / "state"), path, recipe, weights_only=False)
    assert storage.holds(path, recipe, weights_only=True)
    found = storage.find(recipe.token, Path(path), tmp_path)
    assert found is not None
    assert {file.name for file in found.iterdir()} == {"weights", MOMENTS}

    storage.strip(path, recipe)
    storage.strip(path, recipe)  # told again after a crash in between
    storage.finish()
    assert not storage.holds(path, recipe, weights_only=False)
    (scratch := tmp_path / "scratch").mkdir()
    scored = storage.scorable(path, recipe, scratch)
    assert scored is not None
    assert [file.name for file in scored.iterdir() if file.name != COMPLETE] == ["weights"]

    storage.delete(path, recipe)
    storage.delete(path, recipe)
    assert not storage.exists(path)
    assert storage.checkpoints(study) == []
    assert storage.recipe(path) is None


@pytest.mark.unit
def test_a_checkpoint_that_is_deleted_takes_the_copy_of_its_state_along(
    place: tuple[Storage, str], tmp_path: Path
) -> None:
    storage, study = place
    recipe = Recipe.after(None, {}, 1, moments=True, node=HERE)
    path = checkpoint(storage, study, "a", recipe, tmp_path / "source")
    storage.put(state(tmp_path / "state"), path, recipe, weights_only=False)
    storage.delete(path, recipe)
    assert not storage.holds(path, recipe, weights_only=True)
    assert storage.find(recipe.token, Path(path), tmp_path, anywhere=True) is None


@pytest.mark.unit
def test_a_state_beside_its_recipe_is_found_by_other_trials_and_stripped(
    place: tuple[Storage, str], tmp_path: Path
) -> None:
    """The slot's node had no shared memory: Tune has put it there."""
    storage, study = place
    recipe = Recipe.after(None, {}, 1, moments=True, node=None)
    source = tmp_path / "source"
    path = checkpoint(storage, study, "donor", recipe, source)
    state(source / recipe.state)
    if storage.filesystem is None:
        shutil.copytree(source, path, dirs_exist_ok=True)
    else:
        from pyarrow.fs import copy_files

        copy_files(str(source), path, destination_filesystem=storage.filesystem)
    assert storage.holds(path, recipe, weights_only=False)
    clone = Path(study) / "clone" / "checkpoint_000001"
    (scratch := tmp_path / "scratch").mkdir()
    assert storage.find(recipe.token, clone, scratch) is None
    found = storage.find(recipe.token, clone, scratch, anywhere=True)
    assert found is not None
    assert (found / MOMENTS).read_text() == "m"
    storage.strip(path, recipe)
    (again := tmp_path / "again").mkdir()
    scored = storage.scorable(path, recipe, again)
    assert scored is not None
    assert not (scored / MOMENTS).exists()


@pytest.mark.unit
def test_what_an_earlier_run_left_in_the_same_checkpoint_goes(place: tuple[Storage, str], tmp_path: Path) -> None:
    storage, study = place
    old, new = (Recipe.after(None, {}, 1, moments=False, node=HERE) for _ in range(2))
    path = checkpoint(storage, study, "a", old, tmp_path / "source")
    storage.put(state(tmp_path / "state"), path, old, weights_only=True)
    checkpoint(storage, study, "a", new, tmp_path / "source")
    storage.delete_other_states(path, new)
    assert not storage.holds(path, old, weights_only=True)
    assert storage.recipe(path) == new


@pytest.mark.unit
def test_an_upload_that_breaks_off_is_no_copy(bucket: str, tmp_path: Path) -> None:
    storage, study = in_bucket(bucket)
    recipe = Recipe.after(None, {}, 1, moments=True, node=HERE)
    path = checkpoint(storage, study, "a", recipe, tmp_path / "source")
    broken = state(tmp_path / "state")
    (broken / "zz").symlink_to(tmp_path / "nothing")  # cannot be read; the others are there by then
    with pytest.raises(FileNotFoundError):
        storage.put(broken, path, recipe, weights_only=False)
    assert f"states/grid-seed0/{full(recipe.token)}/weights" in objects(bucket)
    assert not storage.holds(path, recipe, weights_only=True)
    assert storage.find(recipe.token, tmp_path, tmp_path) is None
    assert storage.scorable(path, recipe, tmp_path) is None


@pytest.mark.system
def test_real_weights_and_moments_come_back_bit_for_bit_from_the_bucket(
    bucket: str, tmp_path: Path, tiny_spec: FineTuneSpec
) -> None:
    subset = Subset(train=48, validation=24, test=24)
    spec = tiny_spec.model_copy(update={"data": tiny_spec.data.model_copy(update={"subset": subset})})
    storage, tune = in_bucket(bucket)
    study = tmp_path / "study"
    keeping = Keeping(study, storage=storage)
    donor = slot_of(A, keeping, spec, FineTuning)
    donor.step()
    folder = saved(donor, study, "donor", 0)  # as Tune would download it
    then, recipe = state_of(donor), Recipe.read(folder)
    path = checkpoint(storage, tune, "donor", recipe, tmp_path / "source")
    source = SharedMemory(study).find(recipe.state)
    assert source is not None
    storage.put(source, path, recipe, weights_only=False)
    SharedMemory(study).remove()
    heir = slot_of(A, keeping, spec, FineTuning)
    heir.load_checkpoint(str(folder))
    assert state_of(heir) == then
    storage.strip(path, recipe)
    storage.finish()
    assert f"studies/grid-seed0/donor/checkpoint_000001/{weights(recipe.token)}/weights.safetensors" in objects(bucket)
    (scratch := tmp_path / "scratch").mkdir()
    scored = FineTuning(A, spec)
    scored.restore(scorable(path, storage, FineTuning, spec, scratch), moments=False)
    assert scored.score("validation").metrics == donor._training.score("validation").metrics
    SharedMemory(study).remove()


@pytest.mark.ray
def test_a_run_that_the_cluster_refuses_leaves_nothing_in_the_way_of_the_next_try(
    ray_session: None, bucket: str
) -> None:
    cluster = {"storage": bucket, "address": "auto", "cpus_per_trial": 1000}
    with pytest.raises(ClusterError, match="cpus_per_trial"):
        run_experiment(load_spec({**spec_of(Path("runs"), "grid", 0.0), "cluster": cluster}), progress=False)
    assert objects(bucket) == []


@pytest.mark.unit
def test_a_place_that_is_taken_is_refused_and_a_spec_that_differs_is_not_resumed(bucket: str) -> None:
    def spec(**changed: Any) -> Any:
        return load_spec({**spec_of(Path("runs"), "grid", 0.0), "cluster": {"storage": bucket}, **changed})

    with pytest.raises(RunFolderError, match=rf"nothing to resume in {bucket}/stopped"):
        claim_run_folder(spec(), resume=True)
    claim_run_folder(spec(), resume=False)
    assert names_in(bucket) == ["stopped"]
    shutil.rmtree(os.environ["TUNEFLEET_CACHE"])  # another machine
    with pytest.raises(RunFolderError, match=rf"holds an experiment already; .*tunefleet resume {bucket}/stopped"):
        claim_run_folder(spec(), resume=False)
    with pytest.raises(RunFolderError, match="different: epochs"):
        claim_run_folder(spec(epochs=8), resume=True)
    claim_run_folder(spec(), resume=True)


@pytest.mark.ray
def test_a_run_whose_machine_is_lost_goes_on_from_the_bucket_and_ends_as_if_nothing_had_happened(
    ray_session: None, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drivers = Drivers(tmp_path)
    try:
        spec_file = tmp_path / "spec.yaml"
        spec_file.write_text(
            yaml.safe_dump({**spec_of(tmp_path, "pbt", 0.5), "cluster": {"storage": bucket, "max_concurrent": 1}})
        )
        lost = load_spec(spec_file)
        stop_after(drivers.start("run", str(spec_file)), 6, None, drivers)
        assert {"spec.yaml", "study.db"} <= {name.partition("/")[2] for name in objects(bucket)}
        shutil.rmtree(memory_of(lost.run_folder / "studies" / "pbt-seed0"), ignore_errors=True)
        shutil.rmtree(tmp_path / "machine")
        shutil.rmtree(drivers.temp)
        drivers.temp.mkdir()
        monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "another machine"))

        resumed = drivers.start("resume", f"{bucket}/stopped")
        _, told = resumed.communicate(timeout=SECONDS)
        assert resumed.returncode == 0, told
    finally:
        drivers.pull_the_plug()
        shutil.rmtree(drivers.temp)
    (after,) = StudyStore(find_store("stopped", bucket)).load("stopped").studies
    assert after.state is StudyState.FINISHED
    expected = run_experiment(load_spec(spec_of(tmp_path / "whole", "pbt", 0.0)), progress=False).studies[0]
    assert outcomes(after) == outcomes(expected)
    assert after.test is not None
    assert expected.test is not None
    assert after.test.metrics == expected.test.metrics
    manifest = pack("stopped", bucket, tmp_path)
    with tarfile.open(
        fileobj=io.BytesIO(b"".join((tmp_path / part.name).read_bytes() for part in manifest.parts))
    ) as tar:
        assert {"stopped/study.db", "stopped/spec.yaml", "stopped/best/curve.json"} <= set(tar.getnames())
    kept = after.test.checkpoint.removeprefix(f"{bucket}/stopped/")
    left = [name.removeprefix("stopped/") for name in objects(bucket) if "checkpoint_" in name or "states/" in name]
    assert [name.rpartition("/")[2] for name in left] == [RECIPE, SPARE, CHECKSUMS, COMPLETE, "curve.json"]
    assert all(name.startswith(f"{kept}/") for name in left)
