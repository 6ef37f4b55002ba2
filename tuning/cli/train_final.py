"""`tunefleet train-final`: the best configuration, trained on training and validation rows."""

from __future__ import annotations

import click

from trainables.errors import InputError
from trainables.tunables import LARGEST_SEED
from tuning.cli.command import Command
from tuning.cli.exit_status import SUCCESS
from tuning.cli.parameters import experiment_argument, storage_option, store_option


@click.command(cls=Command)
@experiment_argument
@click.option("--strategy", metavar="NAME", help="of this strategy (default: the best of all, by validation)")
@click.option(
    "--pick",
    metavar="TRIAL",
    help="of this trial: its id, or ID@EPOCH; of several objectives one is picked from the front",
)
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(0, LARGEST_SEED),
    help="of the training (default: the first that confirmations use)",
)
@click.option("--out", metavar="FOLDER", help="for the model (default: NAME-model)")
@click.option("--force", is_flag=True, help="replace a model that train-final has written there")
@click.option(
    "--reveal-test",
    is_flag=True,
    help="show its test score, and record the evaluation; a model that is there already is not trained again",
)
@click.option("--address", metavar="HOST:PORT", help="of another Ray than the spec's; auto, or null: its own")
@click.option("--push-to-hub", metavar="REPO", help="upload it to USER/NAME on the Hugging Face Hub, private")
@click.option("--private", is_flag=True, help="only you, or your organisation, see it (the default)")
@click.option("--public", is_flag=True, help="everybody sees it")
@storage_option
@store_option
def train_final_command(
    experiment: str,
    strategy: str | None,
    pick: str | None,
    seed: int | None,
    out: str | None,
    force: bool,
    reveal_test: bool,
    address: str | None,
    push_to_hub: str | None,
    private: bool,
    public: bool,
    storage: str,
    store: str | None,
) -> int:
    """Train the best configuration on training and validation rows, and keep it."""
    if private and public:
        raise InputError("--public", "given", "excludes --private", "give one of the two")
    from tuning.selection.keep_model import keep_model

    keep_model(
        experiment,
        strategy=strategy,
        pick=pick,
        seed=seed,
        out=out,
        force=force,
        address=address,
        reveal_test=reveal_test,
        storage=storage,
        store=store,
        push_to_hub=push_to_hub,
        public=public,
    )
    return SUCCESS
