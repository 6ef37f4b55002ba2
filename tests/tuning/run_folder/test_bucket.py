"""Runs in a bucket: what is refused and removed there, and what another machine goes on from.

On a server that speaks S3. What a storage promises is in tests/trainables/checkpoints/test_storages.py.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.capacity import ClusterError
from tests.support.buckets import objects, s3_storage
from tests.support.drivers import Drivers, reports_seen
from tests.support.gated import Gate
from tests.support.power_cuts import cut_off, in_virtual_time
from tests.support.recorded_runs import record
from tests.support.slots import A, DrivenSlot, saved, state_of
from tests.support.specs import curve_experiment
from tests.support.stopped_runs import SECONDS, memory_of, outcomes, spec_of
from tests.support.user_trainers import rows
from trainables.checkpoints.bucket import COMPLETE
from trainables.checkpoints.manifest import MANIFEST, SPARE_MANIFEST, CheckpointManifest, weights_name
from trainables.checkpoints.policy import CheckpointPolicy
from trainables.checkpoints.recomputation import weights_folder
from trainables.checksums import CHECKSUMS
from trainables.data.row_hashes import hashes_of
from trainables.errors import InputError
from trainables.finetune.finetune import FineTuning
from trainables.machine.shared_memory import SharedMemory
from trainables.spec import FineTuneSpec, Subset
from trainables.user_trainer.shipped import load_shipped, ship
from tuning import load_spec, run_experiment
from tuning.cli import main
from tuning.errors import RunFolderError
from tuning.outcome import StudyState
from tuning.outcome.earlier_evaluations import EarlierEvaluations
from tuning.remote.bundle import pack_bundle
from tuning.run_folder.bucket import RunBucket
from tuning.run_folder.experiments import experiment_names, find_store, load_experiment
from tuning.run_folder.folder import claim_run_folder
from tuning.run_folder.lease import held_lease
from tuning.selection.evaluations import evaluation_ids, ledger_of
from tuning.spec.file import parse
from tuning.spec.models import ExperimentSpec
from tuning.store.evaluation_ledger import TestRows
from tuning.store.study_store import StudyStore
from tuning.testing.simulated_ray import simulated_ray
from tuning.testing.storage_contract import put_checkpoint


@pytest.mark.unit
def test_real_weights_and_moments_come_back_bit_for_bit_from_the_bucket(
    bucket: str, tmp_path: Path, tiny_spec: FineTuneSpec
) -> None:
    subset = Subset(train=48, validation=24, test=24)
    spec = tiny_spec.model_copy(update={"data": tiny_spec.data.model_copy(update={"subset": subset})})
    storage, tune = s3_storage(bucket)
    study = tmp_path / "study"
    policy = CheckpointPolicy(study, storage=storage)
    donor = DrivenSlot(A, policy, spec, FineTuning)
    scores = donor.step()["metrics"]
    folder = saved(donor, study, "donor", 0)  # as Tune would download it
    then, manifest = state_of(donor), CheckpointManifest.read(folder)
    (scratch := tmp_path / "scratch").mkdir()
    path = put_checkpoint(storage, tune, "donor", manifest, scratch)
    source = SharedMemory(study).find(manifest.state)
    assert source is not None
    storage.put(source, path, manifest, weights_only=False)
    SharedMemory(study).remove()
    heir = DrivenSlot(A, policy, spec, FineTuning)
    heir.load_checkpoint(str(folder))
    assert state_of(heir) == then
    storage.strip(path, manifest)
    storage.finish()
    assert f"studies/grid-seed0/donor/checkpoint_000001/{weights_name(manifest.token)}/weights.safetensors" in objects(
        bucket
    )
    scored = FineTuning(A, spec)
    scored.restore(weights_folder(path, storage, FineTuning, spec, scratch), weights_only=True)
    assert scored.score("validation").metrics == scores
    SharedMemory(study).remove()


@pytest.mark.tune
def test_a_run_that_the_cluster_refuses_leaves_nothing_in_the_way_of_the_next_try(bucket: str) -> None:
    cluster = {"storage": bucket, "address": "auto", "cpus_per_trial": 1000}
    with pytest.raises(ClusterError, match="cpus_per_trial"):
        in_virtual_time(load_spec({**spec_of("runs", "grid", 0.0), "cluster": cluster}))
    assert objects(bucket) == []


@pytest.mark.unit
def test_a_place_that_is_taken_is_refused_and_a_spec_that_differs_is_not_resumed(bucket: str) -> None:
    def spec(**changed: Any) -> Any:
        return load_spec({**spec_of("runs", "grid", 0.0), "cluster": {"storage": bucket}, **changed})

    with pytest.raises(RunFolderError, match=rf"nothing to resume in {bucket}/stopped"):
        claim_run_folder(spec(), resume=True)
    claim_run_folder(spec(), resume=False)
    assert experiment_names(bucket) == ["stopped"]
    record(spec(), (0.5,))
    RunBucket(bucket, "stopped").store.save(spec().run_folder / "study.db")
    shutil.rmtree(os.environ["TUNEFLEET_CACHE"])  # another machine
    with pytest.raises(RunFolderError, match=rf"holds an experiment already; .*tunefleet resume {bucket}/stopped"):
        claim_run_folder(spec(), resume=False)
    with pytest.raises(RunFolderError, match="different: epochs"):
        claim_run_folder(spec(epochs=8), resume=True)
    claim_run_folder(spec(), resume=True)


@pytest.mark.unit
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_link_in_the_place_of_the_working_folder_is_refused_and_what_it_leads_to_is_not_emptied(
    bucket: str, tmp_path: Path, depth: int
) -> None:
    spec = load_spec({**spec_of("runs", "grid", 0.0), "cluster": {"storage": bucket}})
    (precious := tmp_path / "precious").mkdir()
    for name in ("thesis.tex", "stopped/thesis.tex", f"{spec.run_folder.parent.name}/stopped/thesis.tex"):
        (precious / name).parent.mkdir(parents=True, exist_ok=True)
        (precious / name).write_text("years")
    place = [spec.run_folder, *spec.run_folder.parents][depth]
    place.parent.mkdir(parents=True)
    place.symlink_to(precious)
    before = sorted(precious.rglob("*"))
    for resume in (False, True):
        with pytest.raises(InputError, match=rf"{place} is a symbolic link, and what it leads to would be .*emptied"):
            claim_run_folder(spec, resume=resume)
        with pytest.raises(InputError, match="is a symbolic link"):
            run_experiment(spec, resume=resume, progress=False)
    assert sorted(precious.rglob("*")) == before


@pytest.mark.unit
def test_a_link_in_the_working_folder_is_removed_alone(bucket: str, tmp_path: Path) -> None:
    spec = load_spec({**spec_of("runs", "grid", 0.0), "cluster": {"storage": bucket}})
    (precious := tmp_path / "precious").mkdir()
    (precious / "thesis.tex").write_text("years")
    spec.run_folder.mkdir(parents=True)
    (spec.run_folder / "studies").symlink_to(precious)
    claim_run_folder(spec, resume=False)
    assert [path.name for path in spec.run_folder.iterdir()] == ["spec.yaml"]
    assert (precious / "thesis.tex").read_text() == "years"


@pytest.mark.unit
def test_what_lies_in_a_bucket_is_removed_there_and_what_was_never_scored_is_replaced(
    bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def spec(**changed: Any) -> Any:
        return load_spec({**spec_of("runs", "grid", 0.0), "cluster": {"storage": bucket}, **changed})

    claim_run_folder(spec(), resume=False)
    record(spec(), ())
    RunBucket(bucket, "stopped").store.save(spec().run_folder / "study.db")
    shutil.rmtree(os.environ["TUNEFLEET_CACHE"])  # another machine
    claim_run_folder(spec(epochs=8), resume=False)
    assert sorted(objects(bucket)) == [".experiments/stopped", "stopped/spec.yaml"]
    assert main(["rm", f"{bucket}/stopped"]) == 2
    assert experiment_names(bucket) == ["stopped"]
    assert main(["rm", f"{bucket}/stopped", "--yes"]) == 0
    assert f"{bucket}/stopped, with its checkpoints and records" in capsys.readouterr().out
    assert (objects(bucket), spec().run_folder.exists()) == ([], False)


@pytest.mark.unit
def test_rm_takes_from_the_bucket_what_was_shipped_for_the_experiment_alone(
    bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shared, own = rows(8, 1), rows(8, 2)
    for name, data in (("one", [shared, own]), ("two", [shared])):
        trainable = ship(data, bucket, "trainer")
        raw = {**spec_of("runs", "grid", 0.0), "trainable": trainable, "cluster": {"storage": bucket}, "name": name}
        claim_run_folder(load_spec(raw), resume=False)
    assert main(["rm", f"{bucket}/one", "--yes"]) == 0
    assert f"{bucket}/.shipped: 2 files that only it needs" in capsys.readouterr().out
    assert load_shipped(trainable)[0][:] == shared[:]
    assert main(["rm", f"{bucket}/two", "--yes"]) == 0
    assert [name for name in objects(bucket) if not name.startswith(".shipped/known-")] == []


def in_the_bucket(bucket: str, seconds_per_epoch: float, **changed: Any) -> dict[str, Any]:
    return {**spec_of("runs", "pbt", seconds_per_epoch, **changed), "cluster": {"storage": bucket, "max_concurrent": 1}}


@pytest.mark.system
def test_a_run_whose_machine_is_lost_goes_on_from_the_bucket_and_ends_as_if_nothing_had_happened(
    drivers: Drivers, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own processes fill the bucket; what goes on from there, in virtual time, finds nothing else."""
    gate = Gate(tmp_path / "gate", 6)
    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(yaml.safe_dump(in_the_bucket(bucket, 0.0, **gate.fields())))
    lost = load_spec(spec_file)
    driver = drivers.start("run", str(spec_file))
    assert reports_seen(driver, 6) == 6
    drivers.pull_the_plug()
    driver.communicate(timeout=SECONDS)
    assert {"spec.yaml", "study.db"} <= {name.partition("/")[2] for name in objects(bucket)}
    lose_the_machine(lost, tmp_path, monkeypatch)
    gate.open()
    with pytest.raises(
        RunFolderError, match=rf"in use by process {driver.pid} of .*resume {bucket}/stopped --take-over"
    ):
        in_virtual_time(lost, resume=True)
    in_virtual_time(lost, resume=True, take_over=True)
    check_that_all_is_there(bucket, tmp_path)


@pytest.mark.parametrize("epochs", [pytest.param(1, marks=pytest.mark.system), pytest.param(8, marks=pytest.mark.tune)])
def test_wherever_a_machine_is_lost_its_run_goes_on_from_the_bucket(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    spec = load_spec(in_the_bucket(bucket, 10.0))
    cut_off(spec, epochs)
    lose_the_machine(spec, tmp_path, monkeypatch)
    in_virtual_time(spec, resume=True)
    check_that_all_is_there(bucket, tmp_path)


@pytest.mark.tune
def test_an_experiment_in_a_bucket_is_extended_from_another_machine(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = load_spec(in_the_bucket(bucket, 10.0, strategies=[{"kind": "grid", "points": 1}], epochs=1))
    in_virtual_time(spec)
    run = RunBucket(bucket, spec.name)
    with contextlib.closing(StudyStore(spec.store_url)) as store:  # as if it had read data
        writer = store.writer(spec.name, store.load(spec.name).studies[0])
        writer.set_test_rows(TestRows.of(hashes_of([("a",)])).to_json(), EarlierEvaluations(2, 0, 0, (), 0, 0, ()))
    run.store.save(spec.run_folder / "study.db")
    before, first = load_experiment(run.uri, ""), run.spec()
    lose_the_machine(spec, tmp_path, monkeypatch)
    more = ["extend", run.uri, "seeds=[0, 1]"]
    with held_lease(bucket, spec.name, "lock of a third machine"):
        assert main(more) == 2
    assert "in use by process" in capsys.readouterr().err
    assert run.spec() == first
    with simulated_ray():
        assert main(more) == 0
    outcome, text = load_experiment(run.uri, "")
    kept = parse(str(run.spec()), "spec.yaml")
    assert (outcome.studies[:1], len(outcome.studies), parse(text, "store")) == (before[0].studies, 2, kept)
    assert kept["extended"] == [{"seeds": 1, "strategies": 1, "judged": True}]
    assert [*ledger_of(spec).read().entries] == evaluation_ids(spec.name, outcome.studies)
    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "lost machine"))  # it was only switched off
    assert len(in_virtual_time(spec, resume=True).studies) == 2
    assert load_spec(spec.run_folder / "spec.yaml").seeds == (0, 1)


def lose_the_machine(spec: ExperimentSpec, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletes everything but the bucket.

    Its disk is no other's: a lock file here would get the number of the old one, by which a driver on the same machine
    knows that the other is dead.
    """
    shutil.rmtree(memory_of(spec.run_folder / "studies" / "pbt-seed0"), ignore_errors=True)
    (folder / "machine").rename(folder / "lost machine")
    monkeypatch.setenv("TUNEFLEET_CACHE", str(folder / "another machine"))


def check_that_all_is_there(bucket: str, folder: Path) -> None:
    (after,) = StudyStore(find_store("stopped", bucket)).load("stopped").studies
    assert after.state is StudyState.FINISHED
    (expected,) = in_virtual_time(load_spec(spec_of(folder / "whole", "pbt", 10.0))).studies
    assert outcomes(after) == outcomes(expected)
    assert after.test is not None
    assert expected.test is not None
    assert after.test.metrics == expected.test.metrics
    manifest = pack_bundle("stopped", bucket, folder)
    parts = b"".join((folder / part.name).read_bytes() for part in manifest.parts)
    with tarfile.open(fileobj=io.BytesIO(parts)) as tar:
        assert {"stopped/study.db", "stopped/spec.yaml", "stopped/best/curve.json"} <= set(tar.getnames())
    kept = after.test.checkpoint.removeprefix(f"{bucket}/stopped/")
    left = [name.removeprefix("stopped/") for name in objects(bucket) if "checkpoint_" in name or "states/" in name]
    assert [name.rpartition("/")[2] for name in left] == [MANIFEST, SPARE_MANIFEST, CHECKSUMS, COMPLETE, "curve.json"]
    assert all(name.startswith(f"{kept}/") for name in left)


@pytest.mark.unit
def test_a_run_whose_copies_are_damaged_hides_no_other_from_ls(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("broken", "well"):
        spec = curve_experiment(tmp_path / "made", name=name, strategies=[{"kind": "grid", "points": 2}])
        record(spec, (0.5,), finished=True)
        run = RunBucket(bucket, name)
        run.claim(spec.to_yaml())
        run.store.save(spec.run_folder / "study.db")
        if name == "broken":
            with run.filesystem.open_output_stream(f"{run.path}/study.db") as target:
                target.write(b"cut off")
    assert main(["ls", "experiments", "--storage", bucket]) == 0
    told = capsys.readouterr()
    assert [line.split()[:2] for line in told.out.splitlines()[1:]] == [["broken", "unfinished"], ["well", "finished"]]
    assert "tunefleet: broken: cluster.storage: " in told.err
