"""The names of the attributes that a study store records for each study."""

from __future__ import annotations

# What proposes the trials' first values, and how many of the first trials are random draws in any case.
ORIGIN, RANDOM_FIRST = "origin", "random_first"
RANDOM_DRAW = "random draw"  # a value of ORIGIN
# Of a study that has begun with some knowledge: the origins of its first trials, as a JSON list (`RANDOM_FIRST` counts
# these, too); the names with a prior; the number of earlier trials that its model knew, and their experiments.
FIRST_ORIGINS, PRIORS, EARLIER_TRIALS, EARLIER_FROM = "first_origins", "priors", "earlier_trials", "earlier_from"
GIVEN_POINT, RECIPE, EARLIER_BEST = "given point", "recipe", "best of an earlier experiment"  # of FIRST_ORIGINS
PRIOR_DRAW = "draw from the priors"  # what a random draw is in a study with priors
AFTER_EARLIER = "knowing earlier trials"  # behind the origin of a model's proposals in such a study
# Of an experiment that is extended: the number of its verdict (1, 2, ...), and how many are planned.
VERDICT, VERDICTS = "verdict", "verdicts"
PRECISION = "precision"  # of its trials; older versions recorded it with the first report
HP_SPACE = "hp_space"  # the name of the function that defines the space, if one does
# Versions and digests of the software that ran the study.
LIBRARIES = ("tunefleet", "ray", "torch", "transformers", "datasets", "accelerate", "optuna", "hyperopt", "numpy")
CODE, OWN_CODE = "code", "trainable_code"  # digests of our packages, and of the module of a user's own trainable
MADE_WITH = ("python", *LIBRARIES, CODE, OWN_CODE)
MIXED = "mixed"  # versions before and after, of a study that was resumed with others


def attribute_label(name: str) -> str:
    """Returns the label of a version or digest for tables and messages."""
    return {CODE: "code of tunefleet", OWN_CODE: "code of your trainable"}.get(name, name)
