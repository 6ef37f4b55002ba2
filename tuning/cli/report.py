"""`tunefleet report`: an experiment, or several of them, as one HTML file, or live on loopback while it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import InputError
from tuning.cli.across import across_of, is_across
from tuning.cli.terminal import Add
from tuning.run_folder.experiments import experiment_name, load_recorded

if TYPE_CHECKING:
    from tuning.report.page.document import PageContent


def add_report(add: Add) -> argparse.ArgumentParser:
    """Declare it; returns it for the arguments that name an experiment."""
    report = add("report", _report, "write an experiment as one HTML page that opens offline, or show it live")
    report.add_argument(
        "--out", metavar="FILE", help="default: EXPERIMENT.html in the working directory; with --across, across.html"
    )
    report.add_argument(
        "--serve",
        metavar="PORT",
        nargs="?",
        type=int,
        const=0,
        help="show it live on this machine; default: a free port",
    )
    report.add_argument(
        "--target", type=float, metavar="SCORE", help="tell what it cost to reach it (default: the worst final score)"
    )
    return report


def _report(arguments: argparse.Namespace) -> int:
    if arguments.serve is not None and arguments.out is None:
        return _serve(arguments)
    from tuning.report.page.document import render_page

    out = Path(arguments.out or f"{_name(arguments)}.html")
    text = render_page(_content(arguments))
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError("--out", str(out), f"cannot be written: {error.strerror}", "choose another place") from error
    print(f"{out} is written ({len(text.encode()) / 1e6:.1f} MB); it opens offline in any browser")
    return 0 if arguments.serve is None else _serve(arguments)


def _serve(arguments: argparse.Namespace) -> int:
    from tuning.report.page.live import PageServer

    _content(arguments)  # an unknown experiment is told here, not in the browser
    try:
        server = PageServer(lambda: _content(arguments), arguments.serve)
    except (OSError, OverflowError) as error:
        raise InputError("--serve", arguments.serve, f"cannot listen: {error}", "leave PORT out") from error
    print(f"{_name(arguments)}: {server.url} (Ctrl-C ends it)", flush=True)
    with server:
        server.serve_forever()
    return 0


def _name(arguments: argparse.Namespace) -> str:
    return "across" if is_across(arguments, "--target") else experiment_name(arguments.experiment)


def _content(arguments: argparse.Namespace) -> PageContent:
    if is_across(arguments, "--target"):
        from tuning.report.page.across import across_content

        return across_content(across_of(arguments))
    from tuning.report.page.document import page_content

    outcome, text = load_recorded(arguments.experiment, arguments.storage, arguments.store)
    return page_content(outcome, text, target=arguments.target)
