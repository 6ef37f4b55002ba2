"""The experiment: plan, run, remember, compare.

from tuning import compare, load_spec, run_experiment

outcome = run_experiment(load_spec("quickstart", ["epochs=1"]))
print(compare(outcome).verdict)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.comparison import Comparison, compare
    from tuning.experiment import run_experiment
    from tuning.extension import extend_experiment
    from tuning.spec.loading import load_spec
    from tuning.spec.mistakes import SpecError
    from tuning.spec.models import ExperimentSpec
    from tuning.user_trainer.install import install
    from tuning.user_trainer.search import hyperparameter_search

__all__ = [
    "Comparison",
    "ExperimentSpec",
    "SpecError",
    "compare",
    "extend_experiment",
    "hyperparameter_search",
    "install",
    "load_spec",
    "run_experiment",
]

_HOMES = {
    "Comparison": "tuning.comparison",
    "ExperimentSpec": "tuning.spec.models",
    "SpecError": "tuning.spec.mistakes",
    "compare": "tuning.comparison",
    "extend_experiment": "tuning.extension",
    "hyperparameter_search": "tuning.user_trainer.search",
    "install": "tuning.user_trainer.install",
    "load_spec": "tuning.spec.loading",
    "run_experiment": "tuning.experiment",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line must not wait for Ray to print its help."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tuning' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
