"""The limit: a warm loop in plain PyTorch with tunefleet's optimizer steps and evaluations, and nothing else.

One process per slot, each with one thread; the trials are dealt out in turn. Data, order of rows, batches, initial
weights, optimizer, clipping and schedule are tunefleet's, so the scores are the same. Start and end of a process, data
and imports are not part of the limit: LOOP holds the time from the moment that every process is warm (it has taken two
steps and scored one batch) to the end of the last trial, and the CPU time of the processes in it.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from benchmarks.throughput.arms import TrialRecord, add, workload_in
from benchmarks.workload import Workload

LOOP = "loop.json"  # {"wall_seconds": ..., "cpu_seconds": ...}


def main(folder: Path) -> None:
    """Trains a trial for each learning rate of the workload in `folder`."""
    workload = workload_in(folder)
    spawn = multiprocessing.get_context("spawn")
    warm, times = spawn.Barrier(workload.slots), spawn.SimpleQueue()
    slots = [spawn.Process(target=_slot, args=(folder, i, warm, times)) for i in range(workload.slots)]
    for slot in slots:
        slot.start()
    spans = []
    for slot in slots:
        slot.join()
        if slot.exitcode:
            raise SystemExit(f"a slot of the limit ended with {slot.exitcode}")
        spans.append(times.get())
    wall = max(end for _, end, _ in spans) - min(start for start, _, _ in spans)
    (folder / LOOP).write_text(json.dumps({"wall_seconds": wall, "cpu_seconds": sum(cpu for *_, cpu in spans)}))


def _slot(folder: Path, number: int, warm: Barrier, times: Any) -> None:
    import torch

    workload = workload_in(folder)
    torch.set_num_threads(1)
    loop = Loop(workload)
    loop.warm_up()
    warm.wait()
    start, cpu = time.monotonic(), time.process_time()
    for rate in workload.learning_rates[number :: workload.slots]:
        began, used = time.monotonic(), time.process_time()
        record = loop.run(rate)
        spent = {"cpu_seconds": time.process_time() - used, "wall_seconds": time.monotonic() - began}
        add(folder, record.model_copy(update={**spent, "worker": number}))
    times.put((start, time.monotonic(), time.process_time() - cpu))


class Loop:
    """The loop of one slot: data and initial weights are read once; `run` is one trial."""

    def __init__(self, workload: Workload) -> None:
        import torch

        from benchmarks.throughput.arms.material import starting_point

        self.workload, self.spec = workload, workload.trial
        self.device = torch.device(workload.device)
        self.data, self.model, self.collate = starting_point(self.spec)
        self.model.to(self.device)
        self.weights = {name: value.clone() for name, value in self.model.state_dict().items()}

    def warm_up(self) -> None:
        """Makes two steps and scores one batch, so that one-time costs of the process are paid."""
        optimizer = self._optimizer(1e-5)
        for count, batch in enumerate(self._batches(self.data.train, self._order(0), self.workload.batch_size)):
            self._step(batch, optimizer)
            if count == 1:
                break
        with self._precision():
            self._logits(next(self._validation()))

    def run(self, rate: float) -> TrialRecord:
        """Runs one trial from the pretrained weights."""
        from transformers import set_seed

        set_seed(self.spec.seed)
        self.model.load_state_dict(self.weights)
        optimizer = self._optimizer(rate)
        total = round(self.workload.epochs * len(self.data.train))
        examples = tokens = steps = 0
        for epoch in range(-(-total // len(self.data.train))):
            order = self._order(epoch)[: total - epoch * len(self.data.train)]
            for batch in self._batches(self.data.train, order, self.workload.batch_size):
                for group in optimizer.param_groups:
                    group["lr"] = rate * (1 - examples / total)
                self._step(batch, optimizer)
                tokens += batch["input_ids"].numel()
                examples += len(batch["labels"])
                steps += 1
            accuracy, loss = self._evaluate()
        return TrialRecord(learning_rate=rate, accuracy=accuracy, loss=loss, tokens=tokens, steps=steps)

    def _order(self, epoch: int) -> list[int]:
        from benchmarks.throughput.arms.material import order_of

        return order_of(self.spec, self.data, epoch)

    def _optimizer(self, rate: float) -> Any:
        import torch

        return torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.0, fused=True)

    def _batches(self, split: Any, order: Sequence[int], size: int) -> Iterator[dict[str, Any]]:
        from torch.utils.data import DataLoader

        split = split.remove_columns("length") if "length" in split.column_names else split
        for batch in DataLoader(split, size, sampler=order, collate_fn=self.collate):
            yield {name: value.to(self.device) for name, value in batch.items()}

    def _validation(self) -> Iterator[dict[str, Any]]:
        rows = self.data.validation
        return self._batches(rows, range(len(rows)), self.workload.eval_batch_size)

    def _step(self, batch: dict[str, Any], optimizer: Any) -> None:
        import torch

        self.model.train()
        with self._precision():
            logits = self.model(**{name: values for name, values in batch.items() if name != "labels"}).logits
        loss: Any = torch.nn.functional.cross_entropy(logits.float(), batch["labels"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()
        self.model.zero_grad()

    def _evaluate(self) -> tuple[float, float]:
        import torch

        with self._precision():  # around all batches: weights are rounded once
            scored = [(self._logits(batch), batch["labels"]) for batch in self._validation()]
        logits, labels = (torch.cat(parts).cpu() for parts in zip(*scored, strict=True))
        logits = logits.float()
        loss = torch.nn.functional.cross_entropy(logits.double(), labels)
        return float((logits.argmax(-1) == labels).double().mean()), float(loss)

    def _logits(self, batch: dict[str, Any]) -> Any:
        import torch

        self.model.eval()
        with torch.inference_mode():
            return self.model(**batch).logits

    def _precision(self) -> Any:
        import torch

        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.workload.precision == "bf16")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
