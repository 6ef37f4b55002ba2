"""The correctness gate: runs the list through a plain `transformers.Trainer` with tunefleet's order of rows.

It has an optimizer, a schedule and a loop of its own, and nothing of tunefleet's trial; so its scores are what a trial
must come to, bit for bit on a CPU. After the list, one learning rate runs with the Trainer's own shuffle and several
seeds: the spread that batches of like lengths may move a score by (SPREAD).
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

from benchmarks.throughput.arms import TrialRecord, add, workload_in
from benchmarks.workload import Workload

SPREAD = "spread.json"  # {"learning_rate": ..., "accuracies": [one per seed]}
SEEDS = 5


def main(folder: Path) -> None:
    """Runs one process per slot, each with one thread, as tunefleet's slots have on a CPU."""
    workload = workload_in(folder)
    middle = workload.learning_rates[workload.trials // 2]
    jobs: list[tuple[float, int, bool]] = [(rate, workload.seed, True) for rate in workload.learning_rates]
    jobs += [(middle, workload.seed + number, False) for number in range(SEEDS)]
    with multiprocessing.get_context("spawn").Pool(workload.slots) as pool:
        records = pool.starmap(plain_trial, [(workload, *job) for job in jobs], chunksize=1)
    for record in records[: workload.trials]:
        add(folder, record)
    accuracies = [record.accuracy for record in records[workload.trials :]]
    (folder / SPREAD).write_text(json.dumps({"learning_rate": middle, "accuracies": accuracies}))


def plain_trial(workload: Workload, rate: float, seed: int, same_order: bool) -> TrialRecord:
    """Runs one plain Trainer; with `same_order`, on rows in tunefleet's order, else in the Trainer's own."""
    import torch
    from transformers import Trainer, TrainingArguments

    from benchmarks.throughput.arms.material import order_of, starting_point

    torch.set_num_threads(1)
    spec = workload.trial.model_copy(update={"seed": seed})
    data, model, collate = starting_point(spec)
    orders = [order_of(spec, data, epoch) for epoch in range(int(workload.epochs))]
    args = TrainingArguments(
        output_dir=".",  # the Trainer makes this folder even when it saves nothing
        num_train_epochs=workload.epochs,
        learning_rate=rate,
        per_device_train_batch_size=workload.batch_size,
        per_device_eval_batch_size=workload.eval_batch_size,
        seed=seed,
        bf16=workload.precision == "bf16",
        use_cpu=workload.device == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = (_ordered(Trainer, orders) if same_order else Trainer)(
        model=model, args=args, train_dataset=data.train, data_collator=collate, compute_loss_func=loss_in_fp32
    )
    trainer.train()
    output = trainer.predict(data.validation)
    logits, labels = torch.from_numpy(output.predictions), torch.from_numpy(output.label_ids)
    loss = torch.nn.functional.cross_entropy(logits.double(), labels.long())
    accuracy = float((logits.argmax(-1) == labels).double().mean())
    return TrialRecord(learning_rate=rate, accuracy=accuracy, loss=float(loss), steps=trainer.state.global_step)


def loss_in_fp32(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    """Computes the mean cross entropy; a model that gets the labels would compute it in autocast, on logits in bf16."""
    import torch

    return torch.nn.functional.cross_entropy(outputs.logits.float(), labels)


def _ordered(base: Any, orders: list[list[int]]) -> Any:
    """Returns the Trainer with a sampler that hands out one order per epoch."""

    class Ordered(base):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return EpochSampler(orders)

    return Ordered


class EpochSampler:
    """A sampler for a torch DataLoader: each pass hands out the next order."""

    def __init__(self, orders: list[list[int]]) -> None:
        self._orders, self._passes = orders, 0

    def __iter__(self) -> Any:
        order = self._orders[self._passes]
        self._passes += 1
        return iter(order)

    def __len__(self) -> int:
        return len(self._orders[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
