"""Extends an experiment that has run by seeds or strategies, from Python; `tunefleet extend` does the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.spec import ClusterSpec
from tuning.argument_checks import check_experiment, override_texts
from tuning.experiment import run_experiment
from tuning.extended_spec import extended_spec
from tuning.outcome import ExperimentOutcome

RUNS = ClusterSpec().storage  # where the run folders are, as for the command line


def extend_experiment(
    experiment: str | Path,
    overrides: str | Sequence[str] | Mapping[str, Any],
    *,
    storage: str | Path = RUNS,
    progress: bool = True,
    force: bool = False,
    take_over: bool = False,
    trust_fetched: bool = False,
) -> ExperimentOutcome:
    """Add seeds or strategies to an experiment that has run, and run what is new; what is there stays as it is.

    A verdict that was seen before counts: see `tuning.comparison.verdict_levels`. What was cut off, `run_experiment`
    continues with `resume=True`.

    Args:
        experiment: its name, its spec file, or the path or the URI of its run folder.
        overrides: what is added: `{"seeds": [0, 1, 2, 3, 4], "strategies.3": {"kind": "random", "trials": 8}}`, or
            texts such as `"seeds=[0,1,2,3,4]"`.
        storage: where the run folders are, for a name.
        progress, force, take_over, trust_fetched: see `run_experiment`.

    Returns:
        All that is recorded of it, as `run_experiment` does.

    Raises:
        UnknownExperiment: there is no such experiment.
        InputError: nothing is added, a seed or a strategy of before is left out, or something else would change.
        SpecError, RunFolderError, ClusterError, StoreError, RepeatedFailure, Interrupted: see `run_experiment`.
    """
    texts = override_texts(overrides)
    spec = extended_spec(check_experiment(experiment), storage, texts, force=force, trust_fetched=trust_fetched)
    return run_experiment(
        spec, progress=progress, resume=True, force=force, take_over=take_over, trust_fetched=trust_fetched
    )
