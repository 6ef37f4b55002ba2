"""The search space: one declaration, by tunable name, from which every strategy takes its view."""

from tuning.space.draws import Draws
from tuning.space.foreign import read_space
from tuning.space.function_space import FunctionSpace
from tuning.space.knowledge import EarlierTrial, Knowledge, KnownPoint
from tuning.space.named import DeclaredSpace, NamedSpace
from tuning.space.priors import Prior
from tuning.space.search_space import Space, unknown_name_rule

__all__ = [
    "DeclaredSpace",
    "Draws",
    "EarlierTrial",
    "FunctionSpace",
    "Knowledge",
    "KnownPoint",
    "NamedSpace",
    "Prior",
    "Space",
    "read_space",
    "unknown_name_rule",
]
