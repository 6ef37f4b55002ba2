"""Ray's PBT example for transformers, read from the installed Ray and changed as little as these versions ask for.

It does not run as it is published: transformers has dropped its GLUE classes and `logging_dir`, Ray its `local_dir`.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

EXAMPLE = "ray.tune.examples.pbt_transformers.pbt_transformers"
STAND_IN = "tests.support.glue_stand_in"
DATA = ("GlueDataset", "GlueDataTrainingArguments", "glue_tasks_num_labels")  # gone from transformers 5
REMOVED = {
    "TrainingArguments": "logging_dir",
    "hyperparameter_search": "local_dir",
}  # gone from transformers 5, Ray 2.60
MEMBERS = {"num_samples": 8, "gpus_per_trial": 0}  # published: each on a GPU


class Changed(ast.NodeTransformer):
    """Applies every change to the script; `made` lists them."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.made: list[str] = []

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        """Takes the data from the stand-in."""
        if node.module == "transformers":
            gone = [alias for alias in node.names if alias.name in DATA]
            node.names = [alias for alias in node.names if alias not in gone]
            self.made.append("data")
            return [node, ast.ImportFrom(STAND_IN, gone, 0)]
        if node.module == "ray.tune.examples.pbt_transformers.utils":
            node.module = STAND_IN
        return node

    def visit_Call(self, node: ast.Call) -> Any:
        """Drops arguments that are no more, and asks for no GPU."""
        self.generic_visit(node)
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        gone = [keyword for keyword in node.keywords if keyword.arg == REMOVED.get(called)]
        node.keywords = [keyword for keyword in node.keywords if keyword not in gone]
        self.made += [f"{called}({keyword.arg}=)" for keyword in gone]
        if called == "tune_transformer":
            for keyword in node.keywords:
                if keyword.arg in MEMBERS:
                    keyword.value = ast.Constant(MEMBERS[keyword.arg])
        return node

    def visit_Constant(self, node: ast.Constant) -> Any:
        """Names the local model."""
        if node.value == "bert-base-uncased":
            self.made.append("model")
            return ast.Constant(self.model)
        return node


def changed_example(model: Path) -> tuple[str, list[str]]:
    """Returns the script with a local `model` and local data, and what was changed."""
    found = importlib.util.find_spec(EXAMPLE)
    assert found is not None
    assert found.origin is not None
    change = Changed(str(model))
    tree = ast.fix_missing_locations(change.visit(ast.parse(Path(found.origin).read_text())))
    return ast.unparse(tree), change.made
