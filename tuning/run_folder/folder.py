"""Claims the run folder of an experiment by writing the resolved spec into it; no other experiment can claim it then.

For a run in a bucket the same file there claims it, and the driver's working folder is brought to the same state.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from cluster.capacity import ClusterError
from cluster.storage import is_uri
from trainables.errors import InputError
from trainables.machine.disk import make_closed, owner_of, write_whole
from tuning.errors import RunFolderError
from tuning.run_folder.bucket import RunBucket
from tuning.run_folder.files import FETCHED_REPORTS, LOCK_FILE, ORIGIN, spec_with_checksum
from tuning.run_folder.removal import ExperimentRemoval
from tuning.spec.loading import load_spec
from tuning.spec.mistakes import SpecError
from tuning.spec.models import SPEC_FILE, STORE_FILE, ExperimentSpec
from tuning.spec.store_url import StoreError

EXTENDABLE = ("seeds", "strategies", "extended")  # keys of a spec that an extension changes


def refuse_fetched(folder: Path) -> None:
    """Refuses to continue a run that was fetched: a resume imports and unpickles what the run folder names.

    Raises:
        RunFolderError: `tunefleet fetch` has made the folder.
    """
    if (folder / ORIGIN).is_file():
        raise RunFolderError(
            f"{folder} was fetched from a cluster, and to go on with it here runs what that cluster has written. Go on "
            "there, with the same `tunefleet submit` and --resume (with --extend for more seeds or strategies); or, if "
            "you trust whoever runs it with this account, here with --trust-fetched"
        )


def refuse_foreign(folder: Path) -> None:
    """Refuses a run folder of another account, which could put files there that a run or a resume then unpickles.

    Raises:
        RunFolderError: it belongs neither to this account nor to root.
    """
    try:
        owner = owner_of(folder)
    except OSError:  # it cannot be written: the first write reports it
        return
    if owner is not None:
        raise RunFolderError(
            f"{folder} belongs to another account (uid {owner}), and to run there is to run what that account puts "
            "there. Run as that account, or choose another name (name=...) or place (cluster.storage); or, if you "
            "trust whoever has that account with this one, go on there with `tunefleet resume --trust-fetched`"
        )


def refuse_changed(kept: Path, recorded: Callable[[], str]) -> None:
    """Refuses a run folder's spec that is damaged or was edited.

    Args:
        kept: path of the spec.
        recorded: returns the spec in the study store, for the keys that differ; may raise StoreError.

    Raises:
        RunFolderError: the spec is not as it was written.
    """
    from tuning.store.spec_diff import differing_keys

    text = kept.read_bytes().decode(errors="replace")
    if text == spec_with_checksum(text.partition("\n")[2]):
        return
    try:
        differing = differing_keys(recorded(), text, apart_from="cluster.storage")  # where a resume has found it
    except (StoreError, ValueError):  # nothing is recorded yet, or it is no YAML any more
        differing = ""
    raise RunFolderError(
        f"{kept} is not as it was written, so it is damaged, or was edited{differing}. Put the old text back; or, if "
        "it is as you want it, go on with --force: what decides results must still be as it was"
    )


@contextlib.contextmanager
def release_if_unused(spec: ExperimentSpec) -> Iterator[None]:
    """Releases the run folder if cluster, store or data refuse the run, so that the next try can claim it."""
    bucket = RunBucket(spec.cluster.storage, spec.name) if is_uri(spec.cluster.storage) else None
    try:
        yield
    except (ClusterError, StoreError, InputError, SpecError):
        kept = spec.run_folder / SPEC_FILE
        if {path.name for path in spec.run_folder.iterdir()} <= {SPEC_FILE, LOCK_FILE}:
            kept.unlink(missing_ok=True)
            if bucket is not None:
                bucket.release()
        raise


def claim_run_folder(
    spec: ExperimentSpec,
    *,
    resume: bool,
    force: bool = False,
    trust_fetched: bool = False,
    fresh: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Claims the run folder of a new run, or checks that an existing one can be resumed with this spec.

    A new run replaces an earlier one of which no trial has reported a score. A resume may extend the recorded spec; the
    extended one is then written.

    Args:
        spec: the resolved spec.
        resume: continue an existing run.
        force: continue also if the recorded spec is damaged or was edited.
        trust_fetched: continue also what was fetched from a cluster.
        fresh: without `resume`, replace also a run with scores.
        say: called with each line about what is removed.

    Raises:
        RunFolderError: the folder belongs to another spec, exists already, or does not exist and cannot be resumed.
        ClusterError: it is in a bucket that cannot be used from here.
        StoreError: with `force`, the store holds records of another spec.
    """
    bucket = None
    if is_uri(spec.cluster.storage):
        bucket = RunBucket(spec.cluster.storage, spec.name)
        _sync_working_folder(bucket, resume=resume)
    kept, shown = spec.run_folder / SPEC_FILE, bucket.uri if bucket else str(spec.run_folder)
    if resume:
        if not kept.is_file():
            step = "start it with `tunefleet run`, or from Python without resume=True"
            raise RunFolderError(f"name: {spec.name}: nothing to resume in {shown}; {step}")
        _claim_existing(spec, bucket, force=force, trust_fetched=trust_fetched)
        return
    if kept.exists():
        _replace_earlier_run(spec, bucket, shown, fresh=fresh, say=say)
    make_closed(spec.run_folder)
    if not trust_fetched:
        refuse_foreign(spec.run_folder)
    text = spec_with_checksum(spec.to_yaml())
    write_whole(kept, text.encode())
    if bucket is not None:
        bucket.claim(text)


def _claim_existing(spec: ExperimentSpec, bucket: RunBucket | None, *, force: bool, trust_fetched: bool) -> None:
    """Checks that the run folder can be resumed with this spec; one that extends the recorded spec is written there.

    Raises:
        RunFolderError, ClusterError, StoreError: see `claim_run_folder`.
    """
    from tuning.run_folder.unseen_records import refuse_unseen_records
    from tuning.store.study_store import StudyStore

    kept = spec.run_folder / SPEC_FILE
    if not trust_fetched:
        refuse_foreign(spec.run_folder)
        refuse_fetched(spec.run_folder)
    if not force:
        refuse_changed(kept, lambda: StudyStore(spec.store_url).spec(spec.name))
    if (before := load_spec(kept)).digest() != spec.digest():
        keys = _different(before, spec)
        ways_out = _ways_out(spec, bucket, keys)
        raise RunFolderError(f"name: {spec.name}: {kept} is of another spec (different: {keys}); {ways_out}")
    grows = spec.extended[:-1] == before.extended != spec.extended
    if not grows and any(getattr(before, name)[: len(now := getattr(spec, name))] != now for name in EXTENDABLE):
        step = f"see `tunefleet ls`, then extend it again, or `tunefleet resume {spec.resumed_as}`"
        raise RunFolderError(f"name: {spec.name}: was extended by somebody else meanwhile; {step}")
    refuse_unseen_records(before, spec, grows=grows)
    after = before.model_copy(update={name: getattr(spec, name) for name in EXTENDABLE}) if grows else before
    if force:
        with contextlib.closing(StudyStore(spec.store_url)) as store:
            store.check()
            store.refuse_other_spec(spec.name, after.digest(), after.to_yaml())
    if force or grows:
        text = spec_with_checksum(after.to_yaml())
        if bucket is not None and grows:  # first: who reads the bucket meanwhile brings its text here
            bucket.claim(text)
        write_whole(kept, text.encode())
    if (spec.run_folder / ORIGIN).is_file():  # from now on it is this machine's: no fetch replaces it
        for name in (*FETCHED_REPORTS, ORIGIN):
            (spec.run_folder / name).unlink(missing_ok=True)


def with_extensions(spec: ExperimentSpec) -> ExperimentSpec:
    """Returns `spec` with what its run folder has besides: earlier trials that it starts from, and extensions."""
    kept = load_spec(spec.run_folder / SPEC_FILE)
    return spec.model_copy(update={name: getattr(kept, name) for name in (*EXTENDABLE, "earlier")})


def _replace_earlier_run(
    spec: ExperimentSpec, bucket: RunBucket | None, shown: str, *, fresh: bool, say: Callable[[str], None]
) -> None:
    earlier = _earlier_run(spec, bucket)
    if not fresh and earlier.scored:
        keys = _differing(spec)
        differing = f" (of another spec; different: {keys})" if keys else ""
        go_on = f"{_extend_advice(spec, keys)}go on with `tunefleet resume {spec.resumed_as}`"
        if not differing and earlier.finished(len(spec.strategies) * len(spec.seeds)):
            go_on = f"it is finished: `tunefleet compare {spec.resumed_as}` shows it"
        raise RunFolderError(
            f"name: {spec.name}: {shown} holds an experiment already{differing}; {go_on}, begin anew with "
            "`tunefleet run --fresh`, which removes what is there, or choose another name (name=...); from Python: "
            "resume=True, fresh=True"
        )
    say("begins anew; removed:" if earlier.scored else "nothing was trained before; begins anew; removed:")
    for line in earlier.lines():
        say(f"  {line}")
    earlier.remove()


def _earlier_run(spec: ExperimentSpec, bucket: RunBucket | None) -> ExperimentRemoval:
    if bucket is not None:
        bucket.store.update_working_copy(spec.run_folder / STORE_FILE)
    return ExperimentRemoval.of(spec.name, spec.run_folder, bucket)


def has_no_scores(spec: ExperimentSpec) -> bool:
    """True if the run folder of `spec` holds no score, so that a new run simply replaces it."""
    return not ExperimentRemoval.of(spec.name, spec.run_folder).scored


def _differing(spec: ExperimentSpec) -> str:
    """Returns the keys in which the recorded spec is another; empty if it is this one, or can no longer be read."""
    try:
        return _different(load_spec(spec.run_folder / SPEC_FILE), spec)
    except (SpecError, InputError):  # its data may be gone, or it is damaged
        return ""


def _different(before: ExperimentSpec, now: ExperimentSpec) -> str:
    old, new = before.decisive(), now.decisive()
    return ", ".join(key for key in {**new, **old} if old.get(key) != new.get(key))


def _extend_advice(spec: ExperimentSpec, keys: str) -> str:
    """Returns the advice to extend, if only seeds or strategies differ; else an empty text."""
    return f"`tunefleet extend {spec.resumed_as}` adds to them; " if set(keys.split(", ")) <= {*EXTENDABLE} else ""


def _ways_out(spec: ExperimentSpec, bucket: RunBucket | None, keys: str) -> str:
    """Returns the advice for a resume whose spec differs in `keys` from that of the run."""
    if not _earlier_run(spec, bucket).scored:
        return (
            "nothing was trained yet, so `tunefleet run` with the new spec begins anew; or resume without changes, or "
            "choose another name for a new experiment (`tunefleet run` with name=...)"
        )
    return (
        f"{_extend_advice(spec, keys)}resume without changes, begin anew with `tunefleet run --fresh` and the new "
        "spec, which removes what is there, or choose another name for a new experiment (`tunefleet run` with name=...)"
    )


def _sync_working_folder(bucket: RunBucket, *, resume: bool) -> None:
    """Brings the working folder to the state of the bucket.

    An earlier run on this machine may have left an older state there, or one that the bucket no longer has.
    """
    text, folder = bucket.spec(), bucket.make_folder()
    if text is None:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK_FILE:
                path.unlink()
        return
    (folder / SPEC_FILE).write_text(text)
    if resume:
        bucket.store.update_working_copy(folder / STORE_FILE)
