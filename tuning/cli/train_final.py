"""The command `train-final`."""

from __future__ import annotations

import argparse

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
    from tuning.selection.keep_model import keep_model

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


def _seed(text: str) -> int:
    try:
        return whole_seed(int(text))
    except ValueError as error:
        rule = f"{text!r}: must be a whole number from 0 to {LARGEST_SEED}"
        raise argparse.ArgumentTypeError(rule) from error
