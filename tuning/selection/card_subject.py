"""The parts of a model card that depend on what was trained: a text model, or a Trainer of the user's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.models.files import EMBEDDED
from trainables.spec import DataSpec, display_name
from trainables.tasks import Task, find_task
from tuning.selection.kept_model import KeptModel

# Names on the Hub, where they differ from ours.
METRICS = {"pearson": "pearsonr", "spearman": "spearmanr", "macro_f1": "f1"}


@dataclass(frozen=True)
class Subject(ABC):
    """The parts of a card that depend on what was trained."""

    final: KeptModel

    @abstractmethod
    def front_matter(self) -> dict[str, Any]:
        """Return arguments of `huggingface_hub.ModelCardData`, besides name and tags."""

    @abstractmethod
    def what(self) -> Iterator[str]:
        """Yield lines of Markdown: what the model is, and how it is loaded."""

    @abstractmethod
    def data(self) -> Iterator[str]:
        """Yield lines of Markdown: what the model was trained and tested on."""


def subject_of(final: KeptModel) -> Subject:
    """Return the subject of a model's card."""
    return OwnTrainer(final) if final.spec.own else TextModel(final)


class TextModel(Subject):
    """A model of `finetune`."""

    @property
    def _task(self) -> Task:
        return find_task(self.final.spec.task)

    @property
    def _options(self) -> DataSpec:
        """The data options, with those of the task's preset."""
        return self._task.options(self.final.spec.data)

    @property
    def _base(self) -> str:
        """The name of the model that was fine-tuned, without a path of this machine."""
        model = self.final.spec.model
        return Path(model).name if Path(model).is_absolute() else model

    @property
    def _named(self) -> str:
        """The name of the data, without a path of this machine."""
        data, task = self._options, self._task.name
        if data.hub is not None:
            return f"{data.hub} ({data.config})" if data.config else data.hub
        if data.source is not None:
            return f"{task} ({data.source})"
        return f"{task} ({Path(data.path or data.train or '').name})"

    def front_matter(self) -> dict[str, Any]:
        """Return the test scores, and the base model and the data set where the Hub has them."""
        from huggingface_hub import EvalResult

        model, names = self.final.spec.model, self._task.metric_names
        results = [
            EvalResult(
                task_type="text-classification",
                dataset_type=self._options.hub or self._task.name,
                dataset_name=self._named,
                dataset_split="test",
                metric_type=METRICS.get(name, name),
                metric_name=name,
                metric_value=value,
            )
            for name, value in self.final.model.metrics.items()
            if name in names
        ]
        return {
            "eval_results": results or None,
            "library_name": "transformers",
            "pipeline_tag": "text-classification",
            "base_model": model if model != EMBEDDED and self._base == model else None,
            "datasets": [self._options.hub] if self._options.hub else None,
            "metrics": list(dict.fromkeys(METRICS.get(name, name) for name in names)),
        }

    def what(self) -> Iterator[str]:
        """Yield the base model, the task and a pipeline."""
        final = self.final
        names = ", ".join(final.label_names)
        kind = f"a text classifier ({names})" if names else "a text regression"
        length = final.winner.candidate.schedule[-1].params.get("data.max_length") or final.spec.data.max_length or 128
        yield f"{self._base}, fine-tuned as {kind} on {self._named}. Its hyperparameters were found with tunefleet:"
        yield "scores, search and data are below."
        yield ""
        yield "```python"
        yield "from transformers import pipeline"
        yield ""
        yield f'classify = pipeline("text-classification", FOLDER, truncation=True, max_length={length})'
        yield "```"

    def data(self) -> Iterator[str]:
        """Yield the numbers of rows and their fingerprint."""
        facts = self.final.provenance
        yield f"{self._named}: trained on {facts['train_rows']:,} rows (training and validation), tested on"
        yield f"{facts['test_rows']:,}. Three disjoint splits; fingerprint of rows and labels:"
        yield f"`{facts['data_fingerprint']}`."


class OwnTrainer(Subject):
    """A model of a Trainer that the user's own factory makes; of its data the numbers of rows are known alone."""

    def front_matter(self) -> dict[str, Any]:
        """Return the library that loads the model."""
        return {"library_name": str(self._model).partition(".")[0]}

    @property
    def _model(self) -> str:
        return str(self.final.provenance["model"])

    def what(self) -> Iterator[str]:
        """Yield the classes of model and Trainer, the factory, and how the folder is loaded."""
        module, _, name = self._model.rpartition(".")
        trainer = str(self.final.provenance["trainer"]).rpartition(".")[2]
        yield f"{name}, trained by the {trainer} that `{display_name(self.final.spec.trainable)}` makes."
        yield "Its hyperparameters were found with tunefleet: scores, search and data are below."
        yield f"The folder is what `trainer.save_model` writes; it is loaded as a {name} (`{module}`) is:"
        yield ""
        yield "```python"
        if module.startswith("sentence_transformers"):
            yield f"from sentence_transformers import {name}"
            yield ""
            yield f"model = {name}(FOLDER)"
        elif module.startswith("peft"):
            yield f"from peft import {name.replace('PeftModel', 'AutoPeftModel')}"
            yield ""
            yield f"model = {name.replace('PeftModel', 'AutoPeftModel')}.from_pretrained(FOLDER)"
        else:
            yield f"from {'transformers' if module.startswith('transformers') else module} import {name}"
            yield ""
            yield f"model = {name}.from_pretrained(FOLDER)"
        yield "```"

    def data(self) -> Iterator[str]:
        """Yield the numbers of rows, where they can be counted."""
        facts, model = self.final.provenance, self.final.model
        trained = f"{facts['train_rows']:,} rows" if "train_rows" in facts else "rows that have no number"
        tested = f"tested on {model.rows:,}, its `test_dataset`" if model.metrics or model.hidden else "tested on none"
        yield f"What `{display_name(self.final.spec.trainable)}` gives its Trainer: trained on {trained}"
        yield f"(`train_dataset` and `eval_dataset`), {tested}."
