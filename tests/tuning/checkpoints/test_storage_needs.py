"""The most room that checkpoints take is computed, and too little is refused before anything starts."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from ray.tune.schedulers import FIFOScheduler

from cluster.capacity import ClusterError
from tests.support.data_files import texts, write_csv
from tests.support.disks import NoDisk, small_disk
from trainables.models.files import ModelError, read_weights, weight_bytes
from tuning import load_spec, run_experiment
from tuning.checkpoints.storage_needs import (
    confirmation_copies,
    experiment_needs,
    require_free_space,
    require_storage,
    resolve_every_epochs,
    storage_needs,
)
from tuning.spec.models import CheckpointSpec, ConfirmSpec, ExperimentSpec
from tuning.strategies import Plan
from tuning.testing.simulated_ray import simulated_ray

MODEL = 100  # bytes
WEIGHTS = CheckpointSpec(every_epochs=None)


def plan(trials: int, *, weights_only: bool) -> Plan:
    return Plan(FIFOScheduler(), trials, weights_only=weights_only)


@pytest.mark.unit
def test_without_moments_memory_takes_the_best_and_one_per_slot_and_storage_the_best() -> None:
    assert storage_needs(MODEL, plan(50, weights_only=True), 4, WEIGHTS) == ((1 + 4 + 1) * 100, 2 * 100)
    assert storage_needs(MODEL, plan(50, weights_only=True), 4, CheckpointSpec(every_epochs=None, keep_best=3)) == (
        (3 + 4 + 1) * 100,
        4 * 100,
    )


@pytest.mark.unit
def test_a_population_takes_a_state_with_moments_per_member() -> None:
    room = storage_needs(MODEL, plan(8, weights_only=False), 2, CheckpointSpec())
    assert room == ((8 + 2 + 1 + 1) * 300, (2 * 8 + 1) * 300 + 2 * 100)


@pytest.mark.unit
def test_studies_that_run_at_the_same_time_take_their_room_together(tmp_path: Path) -> None:
    """All members of two populations may be alive, and two states at a time are being written: there are two slots."""
    fields = {"name": "two", "task": "reviews", "epochs": 2, "space": {"learning_rate": {"loguniform": [1e-5, 1e-3]}}}
    populations = [plan(8, weights_only=False)] * 2
    weights = weight_bytes("minilm", None)
    assert weights is not None
    for fills, states, kept in ((True, 8 + 8 + 2 * 2 + 2 + 1, 2 * 17), (False, 8 + 2 + 1 + 1, 17)):
        cluster = {"storage": str(tmp_path), "fill_slots": fills}
        spec = load_spec({**fields, "strategies": [{"kind": "pbt", "population": 8}], "cluster": cluster})
        needs = experiment_needs(spec, populations, slots=2)
        assert needs.memory == states * 3 * weights
        assert needs.storage == kept * 3 * weights + (2 * 2 if fills else 2 + 1) * weights


@pytest.mark.unit
def test_moments_of_long_trials_take_room_for_those_that_run() -> None:
    room = storage_needs(MODEL, plan(50, weights_only=True), 2, CheckpointSpec(every_epochs=5))
    assert room == ((2 + 2 + 1 + 1) * 300, (2 * 2 + 1) * 300 + 2 * 100)


@pytest.mark.unit
def test_states_that_nobody_has_asked_for_are_written_where_there_is_room_and_their_size_is_known(
    tmp_path: Path,
) -> None:
    spec, trials = curve_in(tmp_path), plan(50, weights_only=True)
    assert resolve_every_epochs(spec, MODEL, trials, 2).every_epochs == "auto"
    assert resolve_every_epochs(spec, 10**15, trials, 2).every_epochs is None
    assert resolve_every_epochs(spec, None, trials, 2).every_epochs is None
    asked = spec.model_copy(update={"checkpoint": CheckpointSpec(every_epochs=2)})
    assert resolve_every_epochs(asked, 10**15, trials, 2).every_epochs == 2


@pytest.mark.unit
def test_it_is_said_where_there_is_no_room_for_states_that_nobody_has_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_header(tmp_path / "model.safetensors", {"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}})
    spec = curve_in(tmp_path).model_copy(update={"trainable": "finetune", "model": str(tmp_path)})
    trials, said = [plan(3, weights_only=True)], "begins anew (checkpoint.every_epochs)"
    assert said not in require_storage(spec, trials, 1)
    monkeypatch.setattr("tuning.checkpoints.storage_needs.free_memory", lambda: 0)
    assert said in require_storage(spec, trials, 1)
    assert said not in require_storage(spec.model_copy(update={"checkpoint": WEIGHTS}), trials, 1)
    assert said not in require_storage(spec, [plan(3, weights_only=False)], 1)


@pytest.mark.unit
def test_without_shared_memory_all_is_on_storage() -> None:
    assert storage_needs(MODEL, plan(8, weights_only=True), 2, WEIGHTS, in_memory=False) == (0, (6 + 4 + 1) * 100)


@pytest.mark.unit
def test_confirmations_keep_the_best_configuration_of_each_study_and_what_the_slots_have_begun() -> None:
    assert confirmation_copies(None, studies=4, slots=2) == 0
    assert confirmation_copies(ConfirmSpec(top=3, seeds=5), studies=4, slots=2) == (4 + 2) * 5
    assert confirmation_copies(ConfirmSpec(top=3, seeds=5), studies=4, slots=100) == 4 * 3 * 5


def curve_in(folder: Path) -> ExperimentSpec:
    return load_spec(
        {
            "name": "run",
            "trainable": "learning_curve",
            "task": "reviews",
            "epochs": 10,
            "space": {"learning_rate": {"choice": [1e-3]}},
            "strategies": [{"kind": "grid"}],
            "cluster": {"storage": str(folder)},
        }
    )


@pytest.mark.unit
def test_too_little_room_is_refused_with_path_need_free_and_next_step(tmp_path: Path) -> None:
    spec = curve_in(tmp_path / "not/there/yet")
    require_free_space(spec, 1)
    with pytest.raises(ClusterError, match=r"cluster.storage: .*/run has .* free, .* up to 1000000000.0 GB.*another"):
        require_free_space(spec, 10**18)


@pytest.mark.system
def test_what_is_recorded_needs_room_also_where_the_size_of_checkpoints_is_not_known(tmp_path: Path) -> None:
    disk, few, many = tmp_path / "disk", plan(1, weights_only=True), plan(100, weights_only=True)
    disk.mkdir()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(small_disk(disk, 10**6))
        except NoDisk as problem:
            pytest.skip(f"no file system can be mounted here: {problem}")
        assert require_storage(curve_in(disk), [few], slots=1) == ""
        with pytest.raises(ClusterError, match=r"has 1 MB free, checkpoints and records .* up to 14 MB"):
            require_storage(curve_in(disk), [many], slots=1)


def with_header(path: Path, header: object) -> None:
    """A safetensors file, as far as its header tells."""
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)


@pytest.mark.unit
def test_the_size_of_a_model_is_that_of_its_tensors_in_float32(tmp_path: Path) -> None:
    half = {"dtype": "F16", "shape": [3, 5], "data_offsets": [0, 30]}
    with_header(tmp_path / "model-1.safetensors", {"a": half, "__metadata__": {"format": "pt"}})
    with_header(tmp_path / "model-2.safetensors", {"b": {**half, "shape": []}})
    assert weight_bytes(str(tmp_path)) == 4 * (15 + 1)
    assert read_weights(str(tmp_path)) == sum(shard.stat().st_size for shard in tmp_path.glob("*.safetensors"))


@pytest.mark.unit
def test_a_pointer_in_place_of_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelError, match="is no safetensors file"):
        weight_bytes(str(tmp_path))


@pytest.mark.unit
def test_the_size_of_a_model_that_is_on_the_hub_alone_is_unknown() -> None:
    assert weight_bytes("nobody/has-this-model") is None
    assert read_weights("nobody/has-this-model") == 0


@pytest.mark.tune
def test_a_run_whose_checkpoints_do_not_fit_is_refused_before_anything_is_trained(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    data = write_csv(tmp_path / "data.csv", {"text": texts(30), "label": [n % 2 for n in range(30)]})
    with_header(model / "model.safetensors", {"huge": {"dtype": "F32", "shape": [10**17], "data_offsets": [0, 0]}})
    raw = {
        "name": "large",
        "task": "text_classification",
        "data": {"path": str(data), "text": ["text"], "label": "label"},
        "model": str(model),
        "epochs": 1,
        "space": {"learning_rate": {"choice": [1e-3]}},
        "strategies": [{"kind": "grid"}],
        "cluster": {"storage": str(tmp_path), "gpus_per_trial": 0},
    }
    with (
        simulated_ray(),
        pytest.raises(ClusterError, match=r"large has .* free, checkpoints and records of this experiment take up to"),
    ):
        run_experiment(load_spec(raw), progress=False)
    assert not (tmp_path / "large").exists()
