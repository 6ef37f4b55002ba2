"""The command `train-final`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from trainables.spec import LARGEST_SEED, whole_seed
from tuning.cli.terminal import SUCCESS, Add


def add_train_final(add: Add) -> argparse.ArgumentParser:
    """Declare it; returns it, for the options that all commands about an experiment have."""
    sub = add("train-final", _train_final, "train the best configuration on training and validation rows, and keep it")
    sub.add_argument("--strategy", metavar="NAME", help="of this strategy; default: the best of all, by validation")
    sub.add_argument(
        "--seed", metavar="N", type=_seed, help="of the training (default: the first that confirmations use)"
    )
    sub.add_argument("--out", metavar="FOLDER", help="for the model (default: NAME-model)")
    sub.add_argument("--force", action="store_true", help="replace a model that train-final has written there")
    sub.add_argument(
        "--reveal-test",
        action="store_true",
        help="show its test score, and record the look; of a model that is there already, without training again",
    )
    sub.add_argument("--address", metavar="HOST:PORT", help="of another Ray than the spec's; auto, or null: its own")
    sub.add_argument("--push-to-hub", metavar="REPO", help="upload it to USER/NAME on the Hugging Face Hub, private")
    seen = sub.add_mutually_exclusive_group()
    seen.add_argument("--private", action="store_true", help="only you, or your organisation, see it (the default)")
    seen.add_argument("--public", action="store_true", help="everybody sees it")
    return sub


def _train_final(arguments: argparse.Namespace) -> int:
    keep_model(
        arguments.experiment,
        strategy=arguments.strategy,
        seed=arguments.seed,
        out=arguments.out,
        force=arguments.force,
        address=arguments.address,
        reveal_test=arguments.reveal_test,
        storage=arguments.storage,
        store=arguments.store,
        push_to_hub=arguments.push_to_hub,
        public=arguments.public,
    )
    return SUCCESS


def keep_model(
    experiment: str,
    *,
    storage: str | Path,
    store: str | None = None,
    strategy: str | None = None,
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
        seed: of the training; default: the first that confirmations use.
        out: the folder; default: NAME-model.
        force: replace a model that was written there so.
        address: of another Ray than the spec's.
        reveal_test: show the model's test score, and record the look; else it is kept hidden. Of a model that is in the
            folder already, with a hidden score, only that is done.
        push_to_hub: upload it to this repository, USER/NAME, which is made private unless it is to be `public`.

    Raises:
        InputError: the folder is taken, no trial has a score yet, or model or data cannot be had any more.
        UnknownExperiment: there is no such experiment.
        ClusterError: the cluster cannot be reached.
        HubError: the repository cannot be written, or is public without being asked for.
    """
    from cluster.storage import is_uri
    from trainables.errors import InputError
    from tuning.run_folder.bucket import RunBucket
    from tuning.run_folder.experiments import find_experiment, found_in
    from tuning.run_folder.run_storage import held_place, place_of
    from tuning.selection.candidates import training_seeds
    from tuning.selection.hub import make_repo, push
    from tuning.selection.keepable import refuse_without_a_model
    from tuning.selection.reveal import hidden_in, reveal
    from tuning.selection.session import joined
    from tuning.selection.train_final import Target, model_bytes, train_final
    from tuning.selection.winner import winner_of
    from tuning.spec.models import SPEC_FILE, STORE_FILE, load_spec
    from tuning.store.study_store import StudyStore

    folder = find_experiment(experiment, storage)
    # Nothing is logged, so no key is asked for.
    changed = ["wandb.mode=disabled", f"cluster.storage={found_in(experiment, storage)}"]
    if address:
        changed.append(f"cluster.address={address}")
    spec = load_spec(folder / SPEC_FILE, changed)
    refuse_without_a_model(spec)
    target = Target(Path(out or f"{spec.name}-model").expanduser().absolute(), replace=force)
    if not (reveal_test and target.folder.exists()):  # its score may be there to be shown
        target.check(model_bytes(spec))
    with contextlib.ExitStack() as stack:
        place = place_of(spec)
        if is_uri(spec.cluster.storage):  # the store is copied back there: no other driver may do so meanwhile
            place = stack.enter_context(held_place(spec))
            RunBucket(spec.cluster.storage, spec.name).store.follow(spec.run_folder / STORE_FILE)
        opened = StudyStore(store or spec.store_url)
        outcome = opened.load(spec.name)
        winner = winner_of(outcome, strategy, spec.confirm)
        if reveal_test and (hidden := hidden_in(outcome, target.folder)) is not None:
            if push_to_hub:
                rule = "is asked for together with the score of a model that is there already"
                step = "look first, without it; then `hf upload` the folder, or train anew (--out FOLDER)"
                raise InputError("--push-to-hub", push_to_hub, rule, step)
            reveal(spec, outcome, winner, hidden, opened, _say)
            place.save()
            print(f"{target.folder / 'README.md'}: the model card has the score now")
            return target.folder
        target.check(model_bytes(spec))
        seed = training_seeds(spec, 1)[0] if seed is None else seed
        repo = make_repo(push_to_hub, public=public) if push_to_hub else None
        _say(f"{spec.name}: {spec.cluster.way_in}")
        session = stack.enter_context(joined(spec))
        _say(f"{spec.name}: {session.describe()}")
        published = repo is not None
        train_final(
            *(spec, outcome, winner, seed, target, session, opened, _say),
            for_others=published,
            reveal_test=reveal_test,
        )
        place.save()
    model = "the model as its Trainer saves it" if spec.own else "the model, its tokenizer"
    print(f"{target.folder}: {model}, best.yaml and README.md, the model card")
    told = "what it scored" if reveal_test else "what its configuration scored"
    print(f"Next: {target.folder / 'README.md'} says how to load the model and {told}")
    if repo is not None:
        print(f"uploaded to {push(target.folder, repo)}")
    return target.folder


def _seed(text: str) -> int:
    try:
        return whole_seed(int(text))
    except ValueError as error:
        rule = f"{text!r}: must be a whole number from 0 to {LARGEST_SEED}"
        raise argparse.ArgumentTypeError(rule) from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
