"""A search space that a spec names: `space: my_module:hp_space`, or `shipped:PATH`.

A spec is also read where it is not run, so reading it imports no user code: the name is resolved where the space is
needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from pydantic import BeforeValidator, PrivateAttr, SerializeAsAny, model_serializer

from trainables.tunables import Tunable, find_tunable
from tuning.space.foreign import read_space
from tuning.space.function_space import FunctionSpace
from tuning.space.search_space import Space


class NamedSpace(Space):
    """A space by its name, without dimensions of its own: `resolved` has them."""

    _name: str = PrivateAttr()

    @classmethod
    def of(cls, name: str) -> NamedSpace:
        """Makes the space of that name.

        Raises:
            ValueError: it is not written as package.module:name.
        """
        if not all(name.partition(":")):
            raise ValueError("must be a mapping by hyperparameter, or package.module:function of a trial")
        made = cls({})
        made._name = name
        return made

    @property
    def name(self) -> str:
        """The name as it stands in the spec."""
        return self._name

    @model_serializer
    def _as_text(self) -> str:
        return self._name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedSpace) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    def resolved(self, tunable: Callable[[str], Tunable | None] = find_tunable) -> Space:
        """Imports and calls the user's code for the space behind the name; see `tuning.space.read_space`.

        What cannot change in the middle of a trial is drawn once, as with `mutate: false`, which a function or a
        dictionary of another library cannot express.

        Args:
            tunable: see `Space.allowing`.

        Raises:
            InputError: it cannot be imported, or is no space.
        """
        return _read(self._name).allowing(tunable)

    @property
    def suggests(self) -> bool:
        """True if it is a function that suggests values: a trainable is then given what it returns.

        Raises:
            InputError: as `resolved`.
        """
        return isinstance(_read(self._name), FunctionSpace)


@cache
def _read(name: str) -> Space:
    return read_space(name)


def _declared(raw: Any) -> Any:
    return NamedSpace.of(raw) if isinstance(raw, str) and ":" in raw else raw


DeclaredSpace = Annotated[SerializeAsAny[Space], BeforeValidator(_declared)]  # of a spec: a mapping, or a name
