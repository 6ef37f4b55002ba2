"""Finds the hyperparameters of a Hugging Face fine-tuning, and compares search strategies; from a script or a notebook.

import tunefleet

print(tunefleet.estimate("quickstart"))               # what it will take, from a minute of training
outcome = tunefleet.run("quickstart", {"epochs": 1})  # a spec file, a preset, a dictionary or an ExperimentSpec
outcome = tunefleet.load_outcome("quickstart")        # of a run that was made before, by its name or its folder
outcome = tunefleet.extend("quickstart", {"seeds": [0, 1, 2]})  # more seeds or strategies for it
comparison = tunefleet.compare(outcome)               # or by name: tunefleet.compare("quickstart")
comparison.best_params                                # what the winner's search has chosen
outcome.to_dataframe()                                # a row per trial; or "reports", "studies", "confirmations"
tunefleet.report("quickstart")                        # the page as one HTML file
tunefleet.train_final("quickstart")                   # the folder of the model to keep

Names are imported when they are first used: `import tunefleet` loads neither Ray nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.errors import InputError as InputError
    from tuning.across import Across as Across
    from tuning.comparison import Comparison as Comparison
    from tuning.notebook.commands import compare as compare
    from tuning.notebook.commands import compare_across as compare_across
    from tuning.notebook.commands import estimate as estimate
    from tuning.notebook.commands import experiments as experiments
    from tuning.notebook.commands import extend as extend
    from tuning.notebook.commands import load_outcome as load_outcome
    from tuning.notebook.commands import report as report
    from tuning.notebook.commands import run as run
    from tuning.notebook.commands import train_final as train_final
    from tuning.outcome import ExperimentOutcome as ExperimentOutcome
    from tuning.outcome import StudyOutcome as StudyOutcome
    from tuning.outcome import TrialOutcome as TrialOutcome
    from tuning.run_folder.experiments import UnknownExperiment as UnknownExperiment
    from tuning.spec.loading import load_spec as load_spec
    from tuning.spec.mistakes import SpecError as SpecError
    from tuning.spec.models import ExperimentSpec as ExperimentSpec
    from tuning.user_trainer.install import install as install
    from tuning.user_trainer.search import hyperparameter_search as hyperparameter_search

    __version__: str

_HOMES = {
    "Across": "tuning.across",
    "Comparison": "tuning.comparison",
    "ExperimentOutcome": "tuning.outcome",
    "ExperimentSpec": "tuning.spec.models",
    "InputError": "trainables.errors",
    "SpecError": "tuning.spec.mistakes",
    "StudyOutcome": "tuning.outcome",
    "TrialOutcome": "tuning.outcome",
    "UnknownExperiment": "tuning.run_folder.experiments",
    "compare": "tuning.notebook.commands",
    "compare_across": "tuning.notebook.commands",
    "estimate": "tuning.notebook.commands",
    "experiments": "tuning.notebook.commands",
    "extend": "tuning.notebook.commands",
    "hyperparameter_search": "tuning.user_trainer.search",
    "install": "tuning.user_trainer.install",
    "load_outcome": "tuning.notebook.commands",
    "load_spec": "tuning.spec.loading",
    "report": "tuning.notebook.commands",
    "run": "tuning.notebook.commands",
    "train_final": "tuning.notebook.commands",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        return version("tunefleet")
    if name not in _HOMES:
        from trainables.errors import nearest

        raise AttributeError(f"module 'tunefleet' has no attribute {name!r}; {nearest(name, __all__)}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The names that completion in a notebook offers."""
    return sorted([*__all__, "__version__"])
