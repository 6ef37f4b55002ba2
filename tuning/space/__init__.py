"""The search space: one declaration, by tunable name, from which every strategy takes its view."""

from tuning.space.draws import Draws
from tuning.space.foreign import read_space
from tuning.space.function_space import FunctionSpace
from tuning.space.named import DeclaredSpace, NamedSpace
from tuning.space.search_space import Space, unknown_name_rule

__all__ = ["DeclaredSpace", "Draws", "FunctionSpace", "NamedSpace", "Space", "read_space", "unknown_name_rule"]
