"""A training loop in plain PyTorch: no Trainer, and PBT may clone and perturb it.

`report` after each epoch, with a folder that holds all that it takes to go on; `restored_checkpoint` after a crash, or
when PBT puts this trial in the place of a better one: weights and moments are the donor's then, the values are this
trial's own.
"""

from __future__ import annotations

import functools
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from trainables import report, restored_checkpoint
from trainables.spec import FineTuneSpec
from trainables.tasks.movie_reviews import read_reviews

WORDS, LENGTH = 4096, 40  # rows of the table of embeddings, and words of a text that are read
TRAIN, VALIDATION = 2000, 500  # rows; for real work: yours in the place of `rows`


def train(params: dict[str, Any], *, spec: FineTuneSpec) -> None:
    """One trial: `params` are its values, `spec.epochs` its length."""
    torch.manual_seed(spec.training_seeds.head)
    model = nn.Sequential(nn.EmbeddingBag(WORDS, 32, padding_idx=0), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=params["learning_rate"], weight_decay=params["weight_decay"])
    epoch = 0
    if folder := restored_checkpoint():
        state = torch.load(folder / "state.pt", weights_only=True)
        epoch = state["epoch"]
        model.load_state_dict(state["model"])
        own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
        optimizer.load_state_dict(state["optimizer"])  # the moments; and the donor's rate and decay,
        for group, values in zip(optimizer.param_groups, own, strict=True):
            group.update(values)  # in whose place this trial's own come back
    words, labels = rows(TRAIN + VALIDATION)
    while epoch < spec.epochs:
        order = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(spec.training_seeds.data_order + epoch))
        for batch in order.split(int(params["batch_size"])):
            loss = nn.functional.cross_entropy(model(words[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        epoch += 1
        with TemporaryDirectory() as folder_name:
            state = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, Path(folder_name) / "state.pt")
            report(score(model, words, labels), epoch=epoch, checkpoint=folder_name)


def score(model: nn.Module, words: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Accuracy and loss on the validation rows, which come after the training rows."""
    with torch.no_grad():
        outputs, right = model(words[TRAIN:]), labels[TRAIN:]
        accuracy = (outputs.argmax(dim=1) == right).float().mean()
        return {"accuracy": float(accuracy), "loss": float(nn.functional.cross_entropy(outputs, right))}


@functools.cache
def rows(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Reviews as numbers of their words, padded with 0, and their labels: 1 for a positive review.

    Their order is drawn once. They are read once per process, for all of its trials.
    """
    table = read_reviews("rotten_tomatoes").columns
    drawn = torch.randperm(len(table["text"]), generator=torch.Generator().manual_seed(0))[:count].tolist()
    words = torch.zeros(count, LENGTH, dtype=torch.long)
    for row, i in enumerate(drawn):
        found = [1 + zlib.crc32(word.encode()) % (WORDS - 1) for word in table["text"][i].split()[:LENGTH]]
        words[row, : len(found)] = torch.tensor(found)
    return words, torch.tensor([int(table["label"][i]) for i in drawn])
