"""The names of what is recorded of a study as an attribute."""

from __future__ import annotations

# Who proposes its trials' first values, and how many of the first are random draws all the same.
ORIGIN, RANDOM_FIRST = "origin", "random_first"
RANDOM_DRAW = "random draw"  # an origin
# Of an experiment that grows: which verdict it comes to (1, 2, ...), and how many are planned.
VERDICT, VERDICTS = "verdict", "verdicts"
HP_SPACE = "hp_space"  # whose values are what a function asks for: its name
# What it was made with.
LIBRARIES = ("tunefleet", "ray", "torch", "transformers", "datasets", "accelerate", "optuna", "hyperopt", "numpy")
CODE, OWN_CODE = "code", "trainable_code"  # digests of our packages, and of the module of a user's own trainable
MADE_WITH = ("python", *LIBRARIES, CODE, OWN_CODE)
MIXED = "mixed"  # of a study that went on with other ones: all of them


def attribute_label(name: str) -> str:
    """What users call it."""
    return {CODE: "code of tunefleet", OWN_CODE: "code of your trainable"}.get(name, name)
