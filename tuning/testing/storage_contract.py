"""The contract of every checkpoint storage: a copy of a state is whole or absent, and goes with its checkpoint."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from trainables.checkpoints.manifest import MANIFEST, MOMENTS, SPARE_MANIFEST, CheckpointManifest
from trainables.checkpoints.storage import Storage
from trainables.checksums import DamagedCheckpoint
from tuning.testing.rules import require, require_equal, require_refused

NODE = "a node"  # whose memory holds a state that is not on the storage
TRIAL, DONOR = "a", "donor"
WHOLE, SCORABLE = {"weights", MOMENTS}, {"weights"}  # the files of a state, and those of them that scoring needs


class StorageContract:
    """Tests of one kind of storage.

    A subclass provides the storage; each test gets an empty one:

        class TestMine(StorageContract):
            @pytest.fixture
            def storage(self, tmp_path: Path) -> Storage:
                return MyStorage(tmp_path)

            @pytest.fixture
            def study(self, tmp_path: Path) -> str:
                return str(tmp_path / "study")  # Tune's folder of the study, by Tune's name for it
    """

    @pytest.fixture
    def scratch(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Makes a folder on this machine."""
        return tmp_path_factory.mktemp("scratch")

    def test_a_copy_can_be_gone_on_from_then_scored_and_goes_with_its_checkpoint(
        self, storage: Storage, study: str, scratch: Path
    ) -> None:
        manifest = _recipe()
        path = put_checkpoint(storage, study, TRIAL, manifest, scratch)
        rule = "a checkpoint of which only the manifest is there has no copy of its state"
        found = storage.manifest(path), storage.checkpoints(study), storage.holds(path, manifest, weights_only=True)
        require_equal(found, (manifest, [path], False), rule, step="look for the copy, not for the checkpoint")
        downloaded = _folder(scratch)
        require_equal(storage.find(manifest.token, downloaded, scratch), None, rule, step="`find` gives None then")

        rule = "when `put` returns, the copy is there, and a trial can continue from it"
        storage.put(_state(scratch), path, manifest, weights_only=False)
        held = [storage.holds(path, manifest, weights_only=only) for only in (True, False)]
        require_equal(held, [True, True], rule, step="mend `put` or `holds`")
        require_equal(
            _files(storage.find(manifest.token, Path(path), _folder(scratch))), WHOLE, rule, step="mend `find`"
        )

        rule = "a copy that is stripped can be scored, but not continued from; stripping it again changes nothing"
        for _ in range(2):
            storage.strip(path, manifest)
        storage.finish()
        require_equal(storage.holds(path, manifest, weights_only=False), False, rule, step="mend `strip`")
        scored = _files(storage.scorable(path, manifest, _folder(scratch)))
        require_equal(scored, SCORABLE, rule, step="mend `strip` or `scorable`")

        rule = "a checkpoint that is deleted is gone, and may be gone already"
        for _ in range(2):
            storage.delete(path, manifest)
        gone = storage.exists(path), storage.checkpoints(study), storage.manifest(path)
        require_equal(gone, (False, [], None), rule, step="mend `delete`")

    def test_weights_alone_are_copied_when_no_more_is_asked_for(
        self, storage: Storage, study: str, scratch: Path
    ) -> None:
        manifest = _recipe()
        path = put_checkpoint(storage, study, TRIAL, manifest, scratch)
        storage.put(_state(scratch), path, manifest, weights_only=True)
        rule = "a copy of the weights can be scored, but not continued from"
        held = [storage.holds(path, manifest, weights_only=only) for only in (True, False)]
        require_equal(held, [True, False], rule, step="leave the moments out of it in `put`; mend `holds`")
        scored = _files(storage.scorable(path, manifest, _folder(scratch)))
        require_equal(scored, SCORABLE, rule, step="leave the moments out of it in `put`")
        found = storage.find(manifest.token, _folder(scratch), _folder(scratch), anywhere=True)
        require_equal(found, None, rule, step="`find` looks for states with moments alone")

    def test_a_checkpoint_that_is_deleted_takes_the_copy_of_its_state_along(
        self, storage: Storage, study: str, scratch: Path
    ) -> None:
        manifest = _recipe()
        path = put_checkpoint(storage, study, TRIAL, manifest, scratch)
        storage.put(_state(scratch), path, manifest, weights_only=False)
        storage.delete(path, manifest)
        found = (
            storage.holds(path, manifest, weights_only=True),
            storage.find(manifest.token, Path(path), _folder(scratch), anywhere=True),
        )
        rule = "a checkpoint that is deleted takes the copy of its state along, wherever that lies"
        require_equal(found, (False, None), rule, step="delete what `put` has written")

    def test_a_state_beside_its_manifest_is_found_by_other_trials_and_stripped(
        self, storage: Storage, study: str, scratch: Path
    ) -> None:
        """The slot's node has no shared memory, so Tune has put the state beside the manifest."""
        manifest = CheckpointManifest.after(None, {}, 1, moments=True, node=None)
        path = put_checkpoint(storage, study, DONOR, manifest, scratch, state=True)
        rule = "a state that Tune has put beside the manifest counts as its copy"
        require_equal(storage.holds(path, manifest, weights_only=False), True, rule, step="mend `holds`")
        clone = Path(study) / "clone" / "checkpoint_000001"
        rule = "a state of another trial is found if it may be anywhere, and else not"
        require_equal(storage.find(manifest.token, clone, _folder(scratch)), None, rule, step="mend `find`")
        found = storage.find(manifest.token, clone, _folder(scratch), anywhere=True)
        require_equal(_files(found), WHOLE, rule, step="look through the whole study in `find`")
        storage.strip(path, manifest)
        rule = "a state beside its manifest is stripped as a copy is"
        scored = _files(storage.scorable(path, manifest, _folder(scratch)))
        require_equal(scored, SCORABLE, rule, step="mend `strip`")

    def test_what_is_stripped_early_is_reported(self, storage: Storage, study: str, scratch: Path) -> None:
        manifest = _recipe()
        path = put_checkpoint(storage, study, TRIAL, manifest, scratch)
        storage.put(_state(scratch), path, manifest, weights_only=False)
        stripped = storage.strip_early(path, manifest)
        rule = "`strip_early` returns whether it has stripped the copy; one that it has not is as it was"
        require_equal(
            storage.holds(path, manifest, weights_only=False), not stripped, rule, step="return what was done"
        )
        require_equal(storage.holds(path, manifest, weights_only=True), True, rule, step="leave what scoring needs")

    def test_what_an_earlier_run_left_in_the_same_checkpoint_goes(
        self, storage: Storage, study: str, scratch: Path
    ) -> None:
        old, new = (CheckpointManifest.after(None, {}, 1, moments=False, node=NODE) for _ in range(2))
        path = put_checkpoint(storage, study, TRIAL, old, scratch)
        storage.put(_state(scratch), path, old, weights_only=True)
        put_checkpoint(storage, study, TRIAL, new, scratch)
        storage.put(_state(scratch), path, new, weights_only=True)
        storage.delete_other_states(path, new)
        found = [storage.holds(path, one, weights_only=True) for one in (old, new)]
        rule = "what an earlier checkpoint has left in the same folder goes, and nothing else"
        require_equal(found, [False, True], rule, step="tell states by their tokens")
        require_equal(storage.manifest(path), new, rule, step="leave the manifest")

    def test_a_copy_that_breaks_off_is_none_and_can_be_made_again(
        self, storage: Storage, study: str, scratch: Path
    ) -> None:
        manifest = _recipe()
        path = put_checkpoint(storage, study, TRIAL, manifest, scratch)
        broken = _state(scratch)
        (broken / "zz").symlink_to(scratch / "nothing")  # cannot be read; the others are copied by then
        rule = "a copy is whole or absent: one that breaks off is none"
        with require_refused(FileNotFoundError, "", rule, step="raise the error for what `put` cannot read"):
            storage.put(broken, path, manifest, weights_only=False)
        found = (
            storage.holds(path, manifest, weights_only=True),
            storage.find(manifest.token, Path(path), _folder(scratch), anywhere=True),
            storage.scorable(path, manifest, _folder(scratch)),
        )
        require_equal(found, (False, None, None), rule, step="mark a copy as whole last: by its name, or by an object")
        (broken / "zz").unlink()
        storage.put(broken, path, manifest, weights_only=False)
        again = _files(storage.find(manifest.token, Path(path), _folder(scratch)))
        rule = "a copy that broke off can be made again, over what is left of it"
        require_equal(again, WHOLE, rule, step="remove in `put` what an earlier one has left")

    def test_a_damaged_manifest_is_read_from_its_copy_and_two_are_refused(
        self, storage: Storage, study: str, scratch: Path
    ) -> None:
        manifest = _recipe()
        path = put_checkpoint(storage, study, TRIAL, manifest, scratch)
        storage.write(f"{path}/{MANIFEST}", b"damaged")
        rule = "a damaged manifest is read from the copy beside it"
        require_equal(storage.manifest(path), manifest, rule, step="read by `CheckpointManifest.found`")
        storage.write(f"{path}/{SPARE_MANIFEST}", b"damaged")
        rule = "a manifest of which both copies are damaged is refused, and its place named"
        with require_refused(DamagedCheckpoint, MANIFEST, rule, step="read by `CheckpointManifest.found`"):
            storage.manifest(path)

    def test_the_checkpoints_of_a_trial_come_in_order(self, storage: Storage, study: str, scratch: Path) -> None:
        paths = [put_checkpoint(storage, study, TRIAL, _recipe(), scratch, number=number) for number in (2, 10, 1)]
        other = put_checkpoint(storage, study, DONOR, _recipe(), scratch)
        rule = "the checkpoints of a trial are found in order, and those of a study all"
        require_equal(storage.checkpoints_of(f"{study}/{TRIAL}"), sorted(paths), rule, step="mend `checkpoints_of`")
        require_equal(sorted(storage.checkpoints(study)), sorted([*paths, other]), rule, step="mend `checkpoints`")
        rule = "of a trial or a study that is not there no checkpoint is found"
        nowhere = storage.checkpoints_of(f"{study}/nobody"), storage.checkpoints(f"{study}/nowhere")
        require_equal(nowhere, ([], []), rule, step="return an empty list")

    def test_a_functions_own_files_are_scored_all(self, storage: Storage, study: str, scratch: Path) -> None:
        path = put_checkpoint(storage, study, TRIAL, _recipe(), scratch)
        storage.write(f"{path}/model.bin", b"m")
        for name in (MANIFEST, SPARE_MANIFEST):
            storage.remove(f"{path}/{name}")
        require_equal(storage.manifest(path), None, "a checkpoint without a manifest has none", step="return None")
        rule = "of a checkpoint without a manifest all files are there for scoring"
        found = _files(storage.scorable(path, None, _folder(scratch)))
        require_equal(found, {"model.bin"}, rule, step="mend `scorable` without a manifest")

    def test_a_file_is_written_whole_read_found_and_removed(self, storage: Storage, study: str) -> None:
        folder = f"{study}/snapshots"
        rule = "a folder that is not there has no files"
        require_equal(storage.files(folder, "*"), [], rule, step="return an empty list")
        for name, data in (("b-2", b"two"), ("a-1", b"one"), ("b-10", b""), ("b-2", b"2")):
            storage.write(f"{folder}/{name}", data)
        rule = "what is written is read again, the newer in place of the older"
        read = [storage.read(f"{folder}/{name}") for name in ("a-1", "b-2", "b-10")]
        require_equal(read, [b"one", b"2", b""], rule, step="mend `write` or `read`")
        rule = "the files that match are found by name"
        found = storage.files(folder, "b-*")
        require_equal(found, [f"{folder}/b-10", f"{folder}/b-2"], rule, step="mend `files`")
        rule = "a file that is removed is gone, and may be gone already"
        for _ in range(2):
            storage.remove(f"{folder}/b-2")
        require_equal(storage.files(folder, "b-*"), [f"{folder}/b-10"], rule, step="mend `remove`")
        with require_refused(
            FileNotFoundError, "", "reading a file that does not exist raises an error", step="raise it"
        ):
            storage.read(f"{folder}/b-2")

    def test_a_copy_of_the_storage_reads_the_same(self, storage: Storage, study: str) -> None:
        storage.write(f"{study}/file", b"content")
        rule = "a storage can be pickled, and the copy reads what it has written: slots on other nodes have one each"
        try:
            other = pickle.loads(pickle.dumps(storage))
        except (TypeError, AttributeError, pickle.PicklingError) as error:
            return require(False, rule, seen=error, step="keep no open files or locks")
        return require_equal(other.read(f"{study}/file"), b"content", rule, step="keep its place in its state")


def put_checkpoint(
    storage: Storage,
    study: str,
    trial: str,
    manifest: CheckpointManifest,
    scratch: Path,
    *,
    number: int = 1,
    state: bool = False,
) -> str:
    """Puts a checkpoint on the storage as Tune does; returns its path.

    Args:
        study: Tune's folder of it.
        state: the state of the trial is beside the manifest.
    """
    from pyarrow.fs import LocalFileSystem, copy_files

    path, source = f"{study}/{trial}/checkpoint_{number:06d}", _folder(scratch)
    manifest.write(source)
    if state:
        shutil.copytree(_state(scratch), source / manifest.state)
    filesystem = storage.filesystem or LocalFileSystem()
    filesystem.create_dir(path)
    copy_files(str(source), path, destination_filesystem=filesystem)
    return path


def _recipe() -> CheckpointManifest:
    """Returns the manifest of a state with moments that is in the memory of a node."""
    return CheckpointManifest.after(None, {}, 1, moments=True, node=NODE)


def _folder(scratch: Path) -> Path:
    """Makes a new folder."""
    folder = scratch / f"{len(list(scratch.iterdir()))}"
    folder.mkdir()
    return folder


def _state(scratch: Path) -> Path:
    """Returns a folder with the files that a training has saved."""
    folder = _folder(scratch)
    for name in WHOLE:
        (folder / name).write_text(name)
    return folder


def _files(folder: Path | None) -> set[str]:
    """Returns the names of a state's files with their saved content; empty if there is no folder."""
    if folder is None:
        return set()
    return {file.name for file in folder.iterdir() if file.name not in WHOLE or file.read_text() == file.name}
