"""A factory that rebuilds a user's Trainer with the values of a trial.

It holds the parts of the Trainer, never the Trainer itself: class, fields of the arguments, `model_init`, data sets,
collator, processing class, functions, and the user's callbacks. `tuning.user_trainer.from_trainer` takes it apart.
Shipped files hold pickles of `RebuiltTrainer`: its name and its attributes must stay.
"""

from __future__ import annotations

import copy
import dis
import inspect
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from trainables.errors import InputError
from trainables.user_trainer.argument_values import field_names, matching_fields, unread_name_error, without_secrets
from trainables.user_trainer.hp_space import suggested_params
from trainables.user_trainer.originals import Originals, construct
from trainables.user_trainer.rebuilt_arguments import build_arguments
from trainables.user_trainer.suggesting_trial import SuggestingTrial, replay_answers

TrialForm = Literal["optuna", "dict"]


class RebuiltTrainer:
    """A factory of Trainers: called with a trial's values, it returns a new Trainer.

    Args:
        trainer_class: of the user's Trainer.
        arguments_class: of its TrainingArguments.
        arguments: the values of all fields of its arguments, by name.
        argument_attributes: what its arguments have besides, by name.
        model_init: the user's; without a parameter, or with the trial as its parameter.
        callbacks: the user's.
        given: the other parameters of the constructor, by name.
        attributes: what was set on the instance after its construction, by name.
        collator_has_model: the collator's `model` was the Trainer's model.
        trial_form: what `model_init` is called with: "optuna": an object with `suggest_*` and `params`; "dict": a
            dictionary, as the Ray and W&B backends of transformers pass.
        originals: the user's Trainer and its arguments, which callbacks and functions may refer to. A factory that was
            loaded makes its first Trainer in their place, so that these refer to that one.
    """

    # Attributes that objects from files of earlier versions lack:
    originals: Originals | None = None
    argument_attributes: Mapping[str, Any] = types.MappingProxyType({})

    def __init__(
        self,
        *,
        trainer_class: type,
        arguments_class: type,
        arguments: Mapping[str, Any],
        model_init: Callable[..., Any],
        callbacks: list[Any],
        given: Mapping[str, Any],
        attributes: Mapping[str, Any],
        collator_has_model: bool = False,
        trial_form: TrialForm = "optuna",
        originals: Originals | None = None,
        argument_attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.originals, self.argument_attributes = originals, dict(argument_attributes or {})
        self.trainer_class, self.arguments_class = trainer_class, arguments_class
        self.args = dict(arguments)
        self.model_init, self.callbacks, self.trial_form = model_init, callbacks, trial_form
        self.given, self.attributes, self.collator_has_model = tuple(given), tuple(attributes), collator_has_model
        vars(self).update({**given, **attributes})  # attributes of their own names, which errors of pickling mention

    def __call__(self, params: Mapping[str, Any]) -> Any:
        """Builds a Trainer with these values.

        Raises:
            InputError: a value is not of its field's type, or nothing reads it.
        """
        trial = self._trial(params) if params else None  # without values, as outside of a search
        values = {name: value for name, value in params.items() if name in self.argument_attributes}
        values |= matching_fields(self.arguments_class, params)
        place = getattr(self.originals, "arguments", None)
        arguments = build_arguments(self.arguments_class, self.args, self.argument_attributes, values, place)
        parts = {name: getattr(self, name) for name in self.given}
        parts |= {"args": arguments, "model_init": self._model_init(trial), "callbacks": copy.copy(self.callbacks)}
        trainer = construct(self.trainer_class, getattr(self.originals, "trainer", None), parts)
        _drop_doubled(trainer, self.callbacks)
        for name in self.attributes:
            setattr(trainer, name, getattr(self, name))
        if self.collator_has_model:
            trainer.data_collator.model = trainer.model
        self._refuse_transformed(trainer)
        if trial is not None:
            self._refuse_unread(params, trial)
        return trainer

    def __getstate__(self) -> dict[str, Any]:
        """Called by pickle; a pickle of the factory holds no secret."""
        return {**vars(self), "args": without_secrets(self.args)}

    def unread(self, names: Iterator[str] | list[str]) -> list[str]:
        """The names that are neither fields or attributes of the arguments nor mentioned in `model_init`."""
        known = field_names(self.arguments_class) | set(self.argument_attributes) | texts_in(self.model_init)
        return [name for name in names if name not in known]

    @property
    def takes_trial(self) -> bool:
        """True if `model_init` has a parameter for the trial."""
        return bool(inspect.signature(self.model_init).parameters)

    @property
    def may_read(self) -> bool:
        """True if `model_init` may read the trial."""
        return self.takes_trial and uses_its_parameter(self.model_init)

    def _trial(self, params: Mapping[str, Any]) -> _Reading | _ReadingTrial:
        suggested = suggested_params(params)
        if self.trial_form == "dict":
            return _Reading(params)
        trial = _ReadingTrial(replay_answers(suggested))
        trial.params = _Reading(suggested)
        return trial

    def _model_init(self, trial: Any) -> Callable[[], Any]:
        if not self.takes_trial:
            return self.model_init

        def model_init() -> Any:
            return self.model_init(trial)

        return model_init

    def _refuse_unread(self, params: Mapping[str, Any], trial: _Reading | _ReadingTrial) -> None:
        read = trial.read if isinstance(trial, _Reading) else trial.params.read  # type: ignore[attr-defined]
        for name in self.unread(list(params)):
            if name not in read:
                raise unread_name_error(name, field_names(self.arguments_class) | texts_in(self.model_init))

    def _refuse_transformed(self, trainer: Any) -> None:
        """Refuses a constructor parameter whose attribute has another value: the instance does not show what it was."""
        for name in self.given:
            given, kept = getattr(self, name), getattr(trainer, name, None)
            plain = isinstance(given, bool | int | float | str | tuple)
            if plain and kept != given:
                rule = (
                    f"{type(trainer).__name__} keeps {kept!r} where it is given this, so the instance does not tell it"
                )
                raise InputError(f"trainer.{name}", given, rule, "pass a factory, `def make_trainer(params)`")


class _Reading(dict[str, Any]):
    """A dictionary that records which of its keys were read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    @property
    def params(self) -> _Reading:
        """The dictionary itself, because a `model_init` written for Optuna reads `trial.params`."""
        return self

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """See `dict.get`."""
        self.read.add(name)
        return super().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        """See `dict.pop`."""
        self.read.add(name)
        return super().pop(name, *default)

    def items(self) -> Any:
        """See `dict.items`; all keys count as read."""
        self.read |= set(self)
        return super().items()

    def values(self) -> Any:
        """See `dict.values`; all keys count as read."""
        self.read |= set(self)
        return super().values()

    def keys(self) -> Any:
        """See `dict.keys`; `**` calls it, and then reads each key."""
        return super().keys()


class _ReadingTrial(SuggestingTrial):
    """A trial whose `params` record which names were read."""

    def _ask(self, name: str, suggestion: Any) -> Any:
        if name not in self.params:
            step = "suggest it in hp_space(trial), which the search reads; model_init can then read trial.params"
            raise InputError("model_init", name, "suggests a value that hp_space does not suggest", step)
        self.params[name]
        return super()._ask(name, suggestion)


def texts_in(function: Any) -> set[str]:
    """The identifiers among the string constants of a function, including those of functions in and below it."""
    found: set[str] = set()
    waiting: list[Any] = [function]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        one = getattr(one, "func", one)
        one = getattr(one, "__func__", one)
        if isinstance(one, types.CodeType):
            texts, inner = _constants(one)
            found |= texts
            waiting += inner
        elif isinstance(one, types.FunctionType) and id(one) not in seen:
            seen.add(id(one))
            waiting.append(one.__code__)
            used = inspect.getclosurevars(one)
            waiting += [value for value in {**used.globals, **used.nonlocals}.values() if _is_own(value, one)]
    return found


def uses_its_parameter(function: Any) -> bool:
    """True if the code of a function uses its parameter, or cannot be inspected."""
    code = getattr(function, "__code__", None)
    if code is None:
        return True
    waiting = [code]
    while waiting:
        one = waiting.pop()
        waiting += [constant for constant in one.co_consts if isinstance(constant, types.CodeType)]
        loads = (one.argval for one in dis.get_instructions(one) if one.opname.startswith("LOAD"))
        if any(code.co_varnames[0] in (loaded if isinstance(loaded, tuple) else (loaded,)) for loaded in loads):
            return True
    return False


def _constants(code: types.CodeType) -> tuple[set[str], list[types.CodeType]]:
    flat = list(code.co_consts)
    for constant in code.co_consts:
        if isinstance(constant, tuple | frozenset):
            flat += constant
    names = {one for one in flat if isinstance(one, str) and one.isidentifier()}
    return names, [one for one in flat if isinstance(one, types.CodeType)]


def _is_own(value: Any, function: types.FunctionType) -> bool:
    return isinstance(value, types.FunctionType) and value.__module__ == function.__module__


def _drop_doubled(trainer: Any, own: list[Any]) -> None:
    """Removes callbacks that a subclass adds in its constructor and that were also taken from the instance."""
    wanted = Counter(map(type, own))
    handler = trainer.callback_handler
    for kind, count in wanted.items():
        there = [callback for callback in handler.callbacks if type(callback) is kind]
        for callback in there[count:]:
            handler.callbacks.remove(callback)
