"""The attributes of a study that say what it was made with, and what users call them."""

from __future__ import annotations

LIBRARIES = ("tunefleet", "ray", "torch", "transformers", "datasets", "accelerate", "optuna", "hyperopt", "numpy")
CODE, OWN_CODE = "code", "trainable_code"  # digests of our packages, and of the module of a user's own trainable
MADE_WITH = ("python", *LIBRARIES, CODE, OWN_CODE)
MIXED = "mixed"  # of a study that went on with other ones: all of them


def shown(name: str) -> str:
    """What users call it."""
    return {CODE: "code of tunefleet", OWN_CODE: "code of your trainable"}.get(name, name)
