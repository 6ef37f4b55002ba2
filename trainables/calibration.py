"""Measures what a trial takes: a few optimizer steps and a part of an evaluation, in the process that a trial has.

In: configurations, and the spec that trials share. Out: seconds and bytes for each. It runs as a job in a slot, beside
others, as trials do; it writes nothing but a temporary folder, and never reads the test split.

A `Training` with `train_on` (the built-in fine-tuning) is measured by its tokens: the steps that are timed are few, and
those of short texts are cheap. Any other is timed by `advance` and `score` alone, over a piece of an epoch.
"""

from __future__ import annotations

import resource
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from trainables.machine import clock
from trainables.spec import FineTuneSpec, Params, Value
from trainables.training import Training

FEWEST_PARTS = 2  # timings of steps after the first, so that a spread is known
EVALUATED_BATCHES = 8  # of an evaluation that are scored
PARTS, MOST_STEPS = 8, 64  # of the seconds for a configuration each takes an eighth, at most so many steps
FIRST_STEPS = 4  # of a training of which only the rows are known
FIRST_PIECE = 1 / 32  # of an epoch, of one of which nothing is known
GROWTH = 4  # from one piece to the next
BATCH = "per_device_train_batch_size"


class TrialPace(NamedTuple):
    """The seconds and bytes of a trial with one configuration, on the device on which it was measured."""

    params: Params
    build: float  # seconds to make its model and optimizer
    epoch: float  # seconds of a pass over the training rows
    evaluation: float  # seconds of an evaluation on the validation split
    save: float  # seconds to write a state
    first: float  # seconds that the first step of a process takes longer than others
    spread: float  # standard error of `epoch`, as a share of it
    train_rows: int | None  # None: not known
    validation_rows: int | None
    test_rows: int | None
    memory: int  # bytes that the process held at most; on a GPU of the host's memory
    shared: int  # bytes of them that it shares with other processes of the node
    device_memory: int  # bytes of a GPU's memory; 0 on a CPU
    device: str
    precision: str


class Calibration(NamedTuple):
    """The paces that one process has measured."""

    began: float  # seconds since 1970 (UTC)
    paces: tuple[TrialPace, ...]


class _Timed(NamedTuple):
    epoch: float
    evaluation: float
    first: float
    spread: float


def calibrate(
    configurations: Sequence[Params],
    spec: FineTuneSpec,
    seconds: float,
    make: Callable[[Params, FineTuneSpec], Training],
) -> Calibration:
    """Measures configurations one after the other, as a slot would train them; called on a worker.

    Args:
        configurations: values by tunable name.
        spec: what all trials share.
        seconds: for each configuration, about; a step and an evaluation may take longer.
        make: builds a Training.

    Raises:
        Exception: what the training raised.
    """
    began = clock.time()
    return Calibration(began, tuple(_pace(params, spec, seconds, make) for params in configurations))


def _pace(params: Params, spec: FineTuneSpec, seconds: float, make: Callable[..., Training]) -> TrialPace:
    before = clock.monotonic()
    training = make({**spec.fixed, **params}, spec)
    build = clock.monotonic() - before
    timed = _by_tokens(training, seconds) if hasattr(training, "train_on") else _by_pieces(training, seconds)
    with TemporaryDirectory(prefix="tunefleet-") as folder:
        before = clock.monotonic()
        training.save(Path(folder))
        save = clock.monotonic() - before
    facts, (memory, shared, device_memory) = training.provenance, _memory()
    return TrialPace(
        params=dict(params),
        build=build,
        epoch=timed.epoch,
        evaluation=timed.evaluation,
        save=save,
        first=timed.first,
        spread=timed.spread,
        train_rows=_rows(facts, "train_rows"),
        validation_rows=_rows(facts, "validation_rows"),
        test_rows=_rows(facts, "test_rows"),
        memory=memory,
        shared=shared,
        device_memory=device_memory,
        device=str(facts.get("device_name", "")),
        precision=str(facts.get("precision", "")),
    )


def _rows(facts: Mapping[str, Value], name: str) -> int | None:
    return None if facts.get(name) is None else int(str(facts[name]))


def _by_tokens(training: Any, seconds: float) -> _Timed:
    """Times steps of a fine-tuning, and extends them to an epoch by the tokens of their batches."""
    from trainables.finetune.schedule import epoch_order

    args, lengths, rows = training.trainer.args, training.data.lengths, len(training.data.train)
    batch, step = args.per_device_train_batch_size, args.per_device_train_batch_size * args.gradient_accumulation_steps
    seed, grouped = training.spec.training_seeds.data_order, training.spec.group_by_length
    order = epoch_order(lengths, seed=seed, epoch=0, group_by_length=grouped)

    def timed(steps: int) -> tuple[float, int]:
        """Trains for so many steps; returns the seconds, and the tokens of their batches."""
        position, before = training.examples, clock.monotonic()
        training.train_on(steps * step / rows)
        taken = clock.monotonic() - before
        trained = [order[row % rows] for row in range(position, training.examples)]
        return taken, _padded_tokens(trained, lengths, batch)

    cold, tokens = timed(1)
    parts, steps = list[tuple[float, int]](), 1
    while training.epoch < training.horizon and (
        len(parts) < FEWEST_PARTS or sum(one[0] for one in parts) < seconds / 2
    ):
        parts.append(timed(steps))
        steps = max(1, min(MOST_STEPS, round(steps * seconds / PARTS / max(parts[-1][0], 1e-6))))
    paces = [taken / max(own, 1) for taken, own in parts] or [cold / max(tokens, 1)]
    pace = sum(taken for taken, _ in parts) / max(1, sum(own for _, own in parts)) if parts else paces[0]
    spread = statistics.stdev(paces) / statistics.mean(paces) / len(paces) ** 0.5 if len(paces) > 1 else 0.5
    epoch = pace * _padded_tokens(order, lengths, batch)
    return _Timed(epoch, _evaluation(training), max(0.0, cold - pace * tokens), spread)


def _padded_tokens(rows: Sequence[int], lengths: Sequence[int], batch: int) -> int:
    """Counts the tokens of rows that are cut into batches, padding included."""
    parts = (rows[start : start + batch] for start in range(0, len(rows), batch))
    return sum(len(part) * max(lengths[row] for row in part) for part in parts)


def _evaluation(training: Any) -> float:
    """Times evenly spaced batches of an evaluation on the validation split, and extends it to all by their tokens."""
    held, batches = training.data.validation, training.trainer.batches
    lengths = list(held["length"])
    every = batches.of(lengths)
    count = min(EVALUATED_BATCHES, len(every))
    chosen = [every[round(place * (len(every) - 1) / max(1, count - 1))] for place in range(count)]
    before = clock.monotonic()
    for rows in chosen:
        training.trainer.predict(held.select(rows))
    taken = clock.monotonic() - before
    tokens, timed = (sum(batches.tokens_of(rows, lengths) for rows in some) for some in (every, chosen))
    return float(taken * tokens / timed)


def _by_pieces(training: Training, seconds: float) -> _Timed:
    """Times growing pieces of an epoch, each with its evaluation, until the time is over; the largest one counts."""
    before = clock.monotonic()
    training.score("validation")
    evaluation = clock.monotonic() - before
    spent, position, first, paces = 0.0, 0.0, 0.0, list[float]()
    for piece in _pieces(training):
        before = clock.monotonic()
        reached = training.advance(piece).epoch
        taken = clock.monotonic() - before
        spent += taken
        net, trained, position = max(0.0, taken - evaluation), reached - position, reached
        paces.append(net / trained if trained > 0 else 0.0)
        if spent + taken * GROWTH > seconds or reached >= training.horizon:
            break
    if len(paces) > 1:
        first = max(0.0, (paces[0] - paces[-1]) * min(FIRST_PIECE, training.horizon))
    spread = abs(paces[-1] - paces[-2]) / max(paces[-1], paces[-2], 1e-9) / 2 if len(paces) > 1 else 0.5
    return _Timed(paces[-1], evaluation, first, min(spread, 0.5))


def _pieces(training: Training) -> Iterator[float]:
    """Yields how many epochs to train, each time more: at first a few steps, where the rows are known."""
    rows, batch = training.provenance.get("train_rows"), getattr(training, "params", {}).get(BATCH)
    piece = FIRST_STEPS * int(batch) / int(str(rows)) if rows and batch else FIRST_PIECE
    while True:
        yield min(piece, training.horizon)
        piece *= GROWTH


def _memory() -> tuple[int, int, int]:
    """The bytes that this process has held at most, those of them that others share, and those on its GPU."""
    import psutil

    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    now = psutil.Process().memory_full_info()
    torch = sys.modules.get("torch")
    on_device = torch.cuda.max_memory_reserved() if torch is not None and torch.cuda.is_available() else 0
    return most, max(0, now.rss - now.uss), int(on_device)
