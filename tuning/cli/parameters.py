"""Parameters that several commands share, each a decorator of the command's function, with what completes them."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from cluster.spec import ClusterSpec
from cluster.storage import is_uri


def _specs(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from tuning.spec.file import presets

    found = [CompletionItem(name, help=summary) for name, summary in presets().items() if name.startswith(incomplete)]
    return [CompletionItem(incomplete, type="file"), *found]


def _experiments(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from tuning.run_folder.experiments import experiment_names

    storage = context.params.get("storage") or ClusterSpec().storage
    names = [] if is_uri(storage) else experiment_names(storage)  # a bucket would keep the shell waiting
    return [
        CompletionItem(incomplete, type="file"),
        *(CompletionItem(name) for name in names if name.startswith(incomplete)),
    ]


SPEC_HELP = "a YAML file, or a preset (tunefleet ls presets); or the configuration of a W&B sweep, or of SigOpt"
EXPERIMENT_HELP = "its name, its run folder, or s3://BUCKET/FOLDER/NAME"

spec_argument = click.argument("spec", metavar="SPEC", shell_complete=_specs, help=SPEC_HELP)
optional_spec_argument = click.argument(
    "spec",
    metavar="[SPEC]",
    required=False,
    shell_complete=_specs,
    help="a YAML file or a preset; without one: the machine alone",
)
overrides_argument = click.argument(
    "overrides",
    metavar="[key=value]...",
    nargs=-1,
    help="change the spec: epochs=2 strategies.0.trials=8 data.path=my.csv",
)
experiment_argument = click.argument(
    "experiment", metavar="EXPERIMENT", shell_complete=_experiments, help=EXPERIMENT_HELP
)
experiments_argument = click.argument(
    "experiments",
    metavar="EXPERIMENT...",
    nargs=-1,
    required=True,
    shell_complete=_experiments,
    help=f"{EXPERIMENT_HELP}; several of them with --across",
)
across_option = click.option("--across", is_flag=True, help="over several experiments, each of which is a task")
target_option = click.option(
    "--target",
    type=float,
    metavar="SCORE",
    help="show what it cost to reach this score (default: the worst final score)",
)
storage_option = click.option(
    "--storage",
    metavar="FOLDER",
    default=ClusterSpec().storage,
    help="where the run folders are (default: runs)",
)
store_option = click.option("--store", metavar="URL", help="the study store, where it is not the run folder's own")
