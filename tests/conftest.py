"""Fixtures of the whole test run: one local Ray with four logical GPUs, and the real data if it is present."""

from __future__ import annotations

import gc
import os
import platform
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything imports ray or transformers: Ray reads these once, and no test may reach a hub.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  Ray's own spelling
os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
# As a slot has it. Small models gain nothing by threads, which wait for each other where other tests compute, too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("WANDB_API_KEY", None)
os.environ["TUNEFLEET_CACHE"] = tempfile.mkdtemp(prefix="tunefleet-tests-")  # this run's own tokenised data

import pytest

from tests import tiers

if TYPE_CHECKING:
    from tests.support.postgres_server import PostgresServer
    from trainables.spec import FineTuneSpec

pytest.register_assert_rewrite("tests.support")  # what is compared there is shown, too

# In the background, or under nohup, this process ignores what a terminal sends, and its children would inherit that. A
# handler is not inherited: the drivers that tests start hear of it.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

platform.processor()  # asks a process, `uname`, and keeps what that says: a real training tells it


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for the whole test run: 4 logical CPUs, 4 logical GPUs, its own short temp dir."""
    from tests.support.shared_ray import shared_ray

    with shared_ray():
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the whole test run; each test makes a database of its own in it."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install -e '.[dev]'")
    from tests.support.postgres_server import running_server, server_programs

    programs = server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    with running_server(programs) as server:
        yield server


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with rte/ and imdb/ as Parquet."""
    folder = os.environ.get("TUNEFLEET_DATA")
    if not folder:
        pytest.skip("TUNEFLEET_DATA is not set: the folder with rte/ and imdb/ as Parquet")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a two-layer BERT of random weights and the real tokenizer of the embedded encoder."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from trainables.models.encoders import resolve_model

    folder = tmp_path_factory.mktemp("model")
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("minilm"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 480 rows, three classes that single words give away, texts of 5 to 14 words."""
    import random

    rng = random.Random(0)
    words = {"sea": "wave salt boat", "wood": "tree moss deer", "town": "street tram shop"}
    filler = ["the", "a", "some", "old", "new", "big", "small", "near", "far", "very", "quite", "and"]
    lines = ["text,label"]
    for i in range(480):
        label = sorted(words)[i % 3]
        text = rng.choices(filler, k=rng.randint(2, 8)) + rng.choices(words[label].split(), k=rng.randint(2, 5))
        rng.shuffle(text)
        lines.append(f"{' '.join(text)} {i},{label}")
    path = tmp_path_factory.mktemp("data") / "places.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def tiny_spec(tiny_model: Path, tiny_data: Path) -> FineTuneSpec:
    """A trial's spec on `tiny_data` and `tiny_model`: few rows, six steps of 16 per epoch."""
    from trainables.spec import DataSpec, FineTuneSpec, Objective, Subset

    return FineTuneSpec(
        task="text_classification",
        data=DataSpec(
            path=str(tiny_data),
            text=("text",),
            label="label",
            max_length=32,
            subset=Subset(train=96, validation=48, test=48),
        ),
        model=str(tiny_model),
        epochs=4,
        objective=Objective(metric="accuracy", mode="max"),
        precision="fp32",
    )


_times = tiers.Times()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test starts no more than its tier allows."""
    with tiers.kept_to_its_tier(item):
        return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One phase of a test has ended: its seconds go into the table of tests and tiers."""
    _times.add(report)


def pytest_unconfigure() -> None:
    """The tokenised data of this run go with it."""
    _times.write()
    shutil.rmtree(os.environ["TUNEFLEET_CACHE"], ignore_errors=True)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Test files without a test of the tier that is asked for are not imported."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if is_test and tiers.is_of_others(collection_path, str(config.option.markexpr)) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Keeps what test files import out of garbage collection, as it stays to the end of the run.

    Each full collection would walk a million objects of torch, transformers and Ray, and find nothing. The tests' own
    objects are collected after 50,000 new ones, not after 700.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test is of one tier; those marked `gpu` are skipped, and only they, where there is no device."""
    tiers.check(items)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))
