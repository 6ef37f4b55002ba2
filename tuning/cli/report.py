"""`tunefleet report`: an experiment, or several of them, as one HTML file, or live on loopback while it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainables.errors import InputError
from tuning.cli.across import loaded_across, only_one, refuse_with_across
from tuning.cli.command import Command
from tuning.cli.exit_status import SUCCESS
from tuning.cli.parameters import across_option, experiments_argument, storage_option, store_option, target_option
from tuning.run_folder.experiments import experiment_name, load_experiment

if TYPE_CHECKING:
    from tuning.report.page.document import PageContent


@click.command(cls=Command)
@experiments_argument
@click.option(
    "--out", metavar="FILE", help="default: EXPERIMENT.html in the working directory; with --across, across.html"
)
@click.option(
    "--serve",
    type=int,
    metavar="[PORT]",
    is_flag=False,
    flag_value=0,
    help="show it live on this machine (default: a free port)",
)
@target_option
@across_option
@storage_option
@store_option
def report_command(
    experiments: tuple[str, ...],
    out: str | None,
    serve: int | None,
    target: float | None,
    across: bool,
    storage: str,
    store: str | None,
) -> int:
    """Write an experiment as one HTML page that opens offline, or show it live."""
    if across:
        refuse_with_across({"--target": target})
    name = "across" if across else experiment_name(only_one(experiments))

    def content() -> PageContent:
        if across:
            from tuning.report.page.across import across_content

            return across_content(loaded_across(experiments, storage, store))
        from tuning.report.page.document import page_content

        outcome, text = load_experiment(experiments[0], storage, store)
        return page_content(outcome, text, target=target)

    if serve is None or out is not None:
        _write(Path(out or f"{name}.html"), content())
    return SUCCESS if serve is None else _serve(name, content, serve)


def _write(path: Path, content: PageContent) -> None:
    from tuning.report.page.document import render_page

    text = render_page(content)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError("--out", str(path), f"cannot be written: {error.strerror}", "choose another place") from error
    print(f"{path} is written ({len(text.encode()) / 1e6:.1f} MB); it opens offline in any browser")


def _serve(name: str, content: Callable[[], PageContent], port: int) -> int:
    from tuning.report.page.live import PageServer

    content()  # an unknown experiment is an error here, not in the browser
    try:
        server = PageServer(content, port)
    except (OSError, OverflowError) as error:
        raise InputError("--serve", port, f"cannot listen: {error}", "leave PORT out") from error
    print(f"{name}: {server.url} (Ctrl-C ends it)", flush=True)
    with server:
        server.serve_forever()
    return SUCCESS
