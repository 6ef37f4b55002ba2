"""The seconds of a trial with any configuration, between two that are known: the lightest and the heaviest of a space.

In: the paces of some configurations, measured now or by earlier runs. Out: a pace for any. The seconds of an epoch are
linear in the number of its steps, so in 1 / batch size, and in every other number. Where several of them differ
between the two, a configuration lies at the mean of its positions, and `uncertainty` grows.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trainables.calibration import TrialPace
from trainables.spec import Params, Value

FORMULA = "learning_curve"  # the trainable whose seconds are known
BATCH, ACCUMULATED = "per_device_train_batch_size", "gradient_accumulation_steps"
# Of a pace, besides what was seen: the same training on the same machine differs by that from hour to hour.
LEAST_UNCERTAIN, MOST_UNCERTAIN = 0.1, 0.5


class TrialSeconds(NamedTuple):
    """The seconds of a trial's parts."""

    build: float  # model and optimizer, once per trial, and again after an exploit
    epoch: float  # a pass over the training rows
    evaluation: float  # of the validation split
    save: float  # a state

    def scaled(self, factor: float) -> TrialSeconds:
        """Return the seconds on a machine that takes `factor` times as long."""
        return TrialSeconds(*(part * factor for part in self))


@dataclass(frozen=True)
class TrainingCosts:
    """The costs of one training on one kind of device.

    Args:
        lightest, heaviest: the paces between which others lie; one twice, if all trials are alike.
        source: where they are from, in words.
        slots: trials that ran beside each other when they were measured; 0: not known.
        ray: seconds to join or start Ray, and to leave it.
        data: seconds to read and check the data.
        start: seconds until the processes of trials are up.
        assumed: what of these three was not measured, in words; "": nothing.
    """

    lightest: TrialPace
    heaviest: TrialPace
    source: str
    slots: int
    ray: float
    data: float
    start: float
    assumed: str = ""

    def of(self, params: Params) -> TrialSeconds:
        """Return the seconds of a trial with these values."""
        at, light, heavy = self._position(params), self.lightest, self.heaviest
        pairs = zip(_parts(light), _parts(heavy), strict=True)
        return TrialSeconds(*(low + at * (high - low) for low, high in pairs))

    @property
    def uncertainty(self) -> float:
        """The share by which an epoch may take more or less than `of` returns."""
        epochs = sorted((self.lightest.epoch, self.heaviest.epoch))
        apart = (epochs[1] - epochs[0]) / max(sum(epochs), 1e-9) if len(self._differing()) > 1 else 0.0
        spread = max(self.lightest.spread, self.heaviest.spread)
        return min(LEAST_UNCERTAIN + spread + apart / 2, MOST_UNCERTAIN)

    @property
    def test_share(self) -> float:
        """The seconds of an evaluation on test, as a multiple of those on the validation split."""
        validation, test = self.lightest.validation_rows, self.lightest.test_rows
        return test / validation if validation and test is not None else 1.0

    def memory(self, slots: int) -> int:
        """Return the bytes that so many trials hold together at most, on one node."""
        return self.heaviest.memory + (slots - 1) * max(0, self.heaviest.memory - self.heaviest.shared)

    def steps(self, params: Params, epochs: float) -> float | None:
        """Return the optimizer steps of so many epochs; None if the rows are not known."""
        rows, values = self.lightest.train_rows, {**self.lightest.params, **params}
        if rows is None or values.get(BATCH) is None:
            return None
        per_step = int(str(values[BATCH])) * int(str(values.get(ACCUMULATED) or 1))
        return epochs * -(-rows // per_step)

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and numbers; `from_json` reads them back."""
        paces = {"lightest": self.lightest._asdict(), "heaviest": self.heaviest._asdict()}
        return {**vars(self), **paces}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> TrainingCosts:
        """Read what `to_json` has made.

        Raises:
            KeyError, TypeError: it has not.
        """
        paces = {name: TrialPace(**plain[name]) for name in ("lightest", "heaviest")}
        return cls(**{**plain, **paces})

    def _differing(self) -> list[str]:
        light, heavy = self.lightest.params, self.heaviest.params
        return [name for name in light if name in heavy and light[name] != heavy[name]]

    def _position(self, params: Params) -> float:
        """Return where a configuration lies between the lightest (0) and the heaviest (1)."""
        places = [
            _between(name, params[name], self.lightest.params[name], self.heaviest.params[name])
            for name in self._differing()
            if name in params
        ]
        return statistics.fmean(places) if places else 0.5


def mean_pace(paces: Sequence[TrialPace]) -> TrialPace:
    """Return the mean of paces of one configuration, which several processes have measured beside each other."""
    means = {name: statistics.fmean(getattr(pace, name) for pace in paces) for name in MEANS}
    epochs = [pace.epoch for pace in paces]
    between = statistics.stdev(epochs) / max(statistics.fmean(epochs), 1e-9) if len(epochs) > 1 else 0.0
    spread = max(means["spread"] / len(paces) ** 0.5, between / len(paces) ** 0.5)
    most = {name: max(getattr(pace, name) for pace in paces) for name in ("memory", "device_memory")}
    return paces[0]._replace(**{**means, **most, "spread": spread})


MEANS = ("build", "epoch", "evaluation", "save", "first", "spread")


def _parts(pace: TrialPace) -> TrialSeconds:
    return TrialSeconds(pace.build, pace.epoch, pace.evaluation, pace.save)


def _between(name: str, value: Value, low: Value, high: Value) -> float:
    numbers = [_number(name, one) for one in (value, low, high)]
    at, first, last = numbers
    if at is None or first is None or last is None or first == last:
        return 0.0 if value == low else 1.0 if value == high else 0.5
    return min(1.0, max(0.0, (at - first) / (last - first)))


def _number(name: str, value: Value) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return 1 / value if name == BATCH and value else float(value)
