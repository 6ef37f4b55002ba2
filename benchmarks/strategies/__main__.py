"""Runs or resumes the experiment of a name and writes its results: `python -m benchmarks.strategies rte`.

The experiments are the YAML files beside this one; those that differ in their budgets have a common name, which runs
one after the other. What is written is what the product itself says of a run: its comparison as JSON and Markdown, its
page, and pictures of the page as a laptop and a phone show it. A run that was stopped goes on with the same command.
One that is finished is only written down, on any machine that has its folder.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import machine
from benchmarks.strategies.screenshots import program, take
from benchmarks.workload import default_data

if TYPE_CHECKING:
    from tuning.spec.models import ExperimentSpec

HERE = Path(__file__).parent
WIDE = "wide-two-cores"  # on the reviews that a package brings


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status of the run; results are written only if it is 0."""
    from tuning.cli.exit_status import exit_status_of

    given = sys.argv[1:] if argv is None else list(argv)
    options = _parse(given)
    return exit_status_of(lambda: _obey(options, given))


def _obey(options: argparse.Namespace, given: Sequence[str]) -> int:
    for experiment in members(options.experiment):
        folder = options.storage / f"strategies-{experiment}"
        if not options.write_only:
            status = _run(experiment, options, folder, given)
            if status:
                return status
        write_down(folder, options.out, screenshots=options.screenshots)
    return 0


def experiments() -> dict[str, Path]:
    """Returns the experiments by name."""
    return {path.stem: path for path in sorted(HERE.glob("*.yaml"))}


def members(name: str) -> list[str]:
    """Returns the experiments of that name: itself, or those with a budget after it, the smallest first."""
    found = experiments()
    if name in found:
        return [name]
    budgets = [one.removeprefix(f"{name}-") for one in found if one.startswith(f"{name}-")]
    return [f"{name}-{budget}" for budget in sorted(map(int, filter(str.isdecimal, budgets)))]


def names() -> list[str]:
    """Returns every name that `members` knows."""
    common = {name.rpartition("-")[0] for name in experiments() if name.rpartition("-")[2].isdecimal()}
    return sorted({*experiments(), *common})


def load(experiment: str, storage: Path, overrides: Sequence[str] = ()) -> ExperimentSpec:
    """Loads the spec of an experiment, with the local files of its task; the reviews come with a package."""
    from tuning.spec.loading import load_spec

    task = experiment.partition("-")[0]
    found = None if experiment in members(WIDE) else default_data(task)
    data = [] if found is None else [f"data.path={found}"]
    return load_spec(experiments()[experiment], [*data, f"cluster.storage={storage}", *overrides])


def _run(experiment: str, options: argparse.Namespace, folder: Path, given: Sequence[str]) -> int:
    from tuning.cli.run import run_spec
    from tuning.spec.loading import load_spec
    from tuning.spec.models import SPEC_FILE

    again = f"python -m benchmarks.strategies {options.experiment}"
    if (folder / SPEC_FILE).is_file():
        spec = load_spec(folder / SPEC_FILE, [f"cluster.storage={options.storage}", *options.overrides])
        return run_spec(spec, resume=True, resume_with=again)
    spec = load(experiment, options.storage, options.overrides)
    began = {"command": shlex.join(["python", "-m", "benchmarks.strategies", *given]), "machine": machine()}
    options.storage.mkdir(parents=True, exist_ok=True)
    _beginning(folder).write_text(json.dumps(began, indent=1) + "\n")
    return run_spec(spec, resume=False, resume_with=again)


def _beginning(folder: Path) -> Path:
    """Returns the file beside the run folder that holds the command and the machine of its first start."""
    return folder.with_name(f"{folder.name}-begun.json")


def write_down(folder: Path, out: Path, *, screenshots: bool) -> None:
    """Writes the results of the run in `folder` below `out`, under the name of the folder."""
    import yaml

    from tuning.comparison import compare
    from tuning.comparison.text import comparison_json, comparison_markdown
    from tuning.report.page.document import page_content, render_page
    from tuning.run_folder.experiments import find_store
    from tuning.store.study_store import StudyStore

    store = StudyStore(find_store(folder.name, folder.parent))
    outcome, spec = store.load(folder.name), store.spec(folder.name)
    store.close()
    comparison = compare(outcome, spec=yaml.safe_load(spec))
    record = json.loads(_beginning(folder).read_text()) | {"comparison": json.loads(comparison_json(comparison))}
    out.mkdir(parents=True, exist_ok=True)
    target = out / folder.name
    target.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    target.with_suffix(".md").write_text(comparison_markdown(comparison))
    target.with_suffix(".html").write_text(render_page(page_content(outcome, spec)), encoding="utf-8")
    if screenshots:
        take(target.with_suffix(".html"))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies", description=__doc__)
    parser.add_argument("experiment", choices=names())
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="as for tunefleet run")
    parser.add_argument("--storage", type=Path, default=Path("runs"), help="for the run folder (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="default: %(default)s")
    parser.add_argument("--write-only", action="store_true", help="run nothing: write down a run that is there already")
    parser.add_argument("--no-screenshots", dest="screenshots", action="store_false", help="they need Chromium")
    options = parser.parse_intermixed_args(argv)
    options.storage = options.storage.absolute()
    if options.screenshots and (missing := program()[1]) is not None:  # told before hours of searching
        parser.error(f"{missing}, or add --no-screenshots")
    return options


if __name__ == "__main__":
    sys.exit(main())
