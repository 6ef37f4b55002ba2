"""The names of the attributes that a study store records for each study."""

from __future__ import annotations

# What proposes the trials' first values, and how many of the first trials are random draws in any case.
ORIGIN, RANDOM_FIRST = "origin", "random_first"
RANDOM_DRAW = "random draw"  # a value of ORIGIN
# The number of earlier trials that its model knew before its first proposal, and where they were from.
EARLIER_TRIALS, EARLIER_FROM = "earlier_trials", "earlier_from"
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
