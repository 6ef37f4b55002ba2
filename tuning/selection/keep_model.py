"""Trains the model to keep, from the name of an experiment to a folder, or shows the score of one that is there.

In: what `tunefleet train-final` takes. Out: the folder, an entry in the study store, and, if asked for, an upload.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from cluster.storage import is_uri
from trainables.errors import InputError
from tuning.outcome import ExperimentOutcome
from tuning.run_folder.bucket import RunBucket
from tuning.run_folder.experiments import find_experiment, storage_of
from tuning.run_folder.run_storage import locked_run_storage, run_storage_of
from tuning.selection.candidates import training_seeds
from tuning.selection.hub import make_repo, push
from tuning.selection.keepable import refuse_without_a_model
from tuning.selection.model_folder import ModelFolder
from tuning.selection.picked import picked, refuse_to_choose
from tuning.selection.reveal import hidden_in, reveal
from tuning.selection.train_final import model_bytes, train_final_model
from tuning.selection.winner import Winner, winner_of
from tuning.selection.work_session import ray_session
from tuning.spec.loading import load_spec
from tuning.spec.models import SPEC_FILE, STORE_FILE, ExperimentSpec
from tuning.store.study_store import StudyStore
from tuning.study.precision import decide_precision


def keep_model(
    experiment: str,
    *,
    storage: str | Path,
    store: str | None = None,
    strategy: str | None = None,
    pick: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    force: bool = False,
    address: str | None = None,
    reveal_test: bool = False,
    push_to_hub: str | None = None,
    public: bool = False,
) -> Path:
    """Train the best configuration of an experiment on training and validation rows, and keep it; returns its folder.

    Args:
        experiment, storage: as for `tuning.run_folder.experiments.find_experiment`.
        store: the URL of the study store, where it is not the run's own.
        strategy: of this strategy; default: the best of all, by validation.
        pick: the id of a trial, maybe with an epoch (`tuning.selection.picked`), in place of the best.
        seed: of the training; default: the first that confirmations use.
        out: the folder; default: NAME-model.
        force: replace a model that was written there so.
        address: of another Ray than the spec's.
        reveal_test: show the model's test score, and record the evaluation; else it is kept hidden. If the folder holds
            a model with a hidden score already, only that is done.
        push_to_hub: upload it to this repository, USER/NAME, which is made private unless it is to be `public`.

    Raises:
        InputError: the folder is taken, no trial has a score yet, or model or data cannot be used any more.
        UnknownExperiment: there is no such experiment.
        ClusterError: the cluster cannot be reached.
        HubError: the repository cannot be written, or is public without being asked for.
    """
    folder = find_experiment(experiment, storage)
    # Nothing is logged, so no key is needed.
    changed = ["wandb.mode=disabled", f"cluster.storage={storage_of(experiment, storage)}"]
    if address:
        changed.append(f"cluster.address={address}")
    spec = load_spec(folder / SPEC_FILE, changed)
    refuse_without_a_model(spec)
    target = ModelFolder(Path(out or f"{spec.name}-model").expanduser().absolute(), replace=force)
    if not (reveal_test and target.folder.exists()):  # its score may be there to be shown
        target.check(model_bytes(spec))
    with contextlib.ExitStack() as stack:
        place = run_storage_of(spec)
        if is_uri(spec.cluster.storage):  # the store is copied back there: no other driver may do so meanwhile
            place = stack.enter_context(locked_run_storage(spec))
            RunBucket(spec.cluster.storage, spec.name).store.update_working_copy(spec.run_folder / STORE_FILE)
        opened = StudyStore(store or spec.store_url)
        outcome = opened.load(spec.name)
        winner = _winner(spec, outcome, strategy, pick)
        if reveal_test and (hidden := hidden_in(outcome, target.folder)) is not None:
            _refuse_upload_of_hidden(push_to_hub)
            reveal(spec, outcome, winner, hidden, opened, _say)
            place.save()
            print(f"{target.folder / 'README.md'}: the model card has the score now")
            return target.folder
        target.check(model_bytes(spec))
        seed = training_seeds(spec, 1)[0] if seed is None else seed
        repo = make_repo(push_to_hub, public=public) if push_to_hub else None
        _say(f"{spec.name}: {spec.cluster.way_in}")
        session = stack.enter_context(ray_session(spec))
        _say(f"{spec.name}: {session.describe()}")
        if (decision := decide_precision(spec, session, [winner.study], force=True)) is not None:
            _say(f"{spec.name}: {decision.line}")
        train_final_model(
            *(spec, outcome, winner, seed, target, session, opened, _say),
            for_others=repo is not None,
            reveal_test=reveal_test,
        )
        place.save()
    _print_next_step(spec, target.folder, reveal_test=reveal_test)
    if repo is not None:
        print(f"uploaded to {push(target.folder, repo)}")
    return target.folder


def _winner(spec: ExperimentSpec, outcome: ExperimentOutcome, strategy: str | None, pick: str | None) -> Winner:
    if pick is None:
        refuse_to_choose(outcome)
        return winner_of(outcome, strategy, spec.confirm)
    if strategy is not None:
        raise InputError("--strategy", strategy, "stands beside --pick, which names a trial", "give one of the two")
    return picked(outcome, pick)


def _refuse_upload_of_hidden(repo: str | None) -> None:
    if repo:
        rule = "is asked for together with the score of a model that is there already"
        step = "show the score first, without it; then `hf upload` the folder, or train anew (--out FOLDER)"
        raise InputError("--push-to-hub", repo, rule, step)


def _print_next_step(spec: ExperimentSpec, folder: Path, *, reveal_test: bool) -> None:
    model = "the model as its Trainer saves it" if spec.own else "the model, its tokenizer"
    print(f"{folder}: {model}, best.yaml and README.md, the model card")
    scored = "what it scored" if reveal_test else "what its configuration scored"
    print(f"Next: {folder / 'README.md'} says how to load the model and {scored}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
