"""A package of its own can be all that `pbt` and `pb2` are: with their sources moved to one, all their tests pass.

The product is copied without them, the package is installed beside it with an entry point, and the tests of PBT run in
an interpreter that finds only these two. Whatever the house knew of `pbt` in particular is missing there.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tuning

pytestmark = pytest.mark.system

ROOT = Path(tuning.__file__).parents[1]
PACKAGE = "population_based"
MOVED = {
    "tuning.strategies.pbt": f"{PACKAGE}.recipe",
    "tuning.strategies.pb2": f"{PACKAGE}.modelled",
    "tuning.strategies.schedulers.asynchronous": f"{PACKAGE}.asynchronous",
    "tuning.strategies.schedulers.bandit": f"{PACKAGE}.bandit",
    "tuning.strategies.searchers.generations": f"{PACKAGE}.generations",
    "tuning.strategies.schedulers.population": f"{PACKAGE}.scheduler",
    "tuning.strategies.schedulers.synchronous": f"{PACKAGE}.synchronous",
    "tuning.strategies.schedulers.evolution": f"{PACKAGE}.evolution",
    "tuning.strategies.schedulers.held": f"{PACKAGE}.held",
    "tuning.strategies.searchers.population_searcher": f"{PACKAGE}.searcher",
}
# What a package of strategies may build on.
PUBLIC = {
    "trainables.epochs",
    "trainables.machine.clock",
    "trainables.spec",
    "tuning.outcome",
    "tuning.outcome.attributes",
    "tuning.space",
    "tuning.space.ranges",
    "tuning.strategies",
    "tuning.tune_compat.population",
}
TESTS = "tests/tuning/strategies"
SECONDS = 1200.0


def path_of(module: str) -> Path:
    return Path(*module.split(".")).with_suffix(".py")


def rewritten(source: str) -> str:
    for old, new in MOVED.items():
        source = source.replace(old, new)
    return source


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the product without PBT, and with the package that has it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    product, site = folder / "product", folder / "site"
    for name in ("cluster", "trainables", "tuning", "tests"):
        shutil.copytree(ROOT / name, product / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", product)
    (site / PACKAGE).mkdir(parents=True)
    (site / PACKAGE / "__init__.py").write_text('"""Population-based training."""\n')
    for old, new in MOVED.items():
        source = product / path_of(old)
        (site / path_of(new)).write_text(rewritten(source.read_text()))
        source.unlink()
    for test in (product / "tests").rglob("*.py"):
        if any(module in (text := test.read_text()) for module in MOVED):
            test.write_text(rewritten(text))
    info = site / f"{PACKAGE}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[tunefleet.strategies]\npbt = {PACKAGE}.recipe:Pbt\npb2 = {PACKAGE}.modelled:Pb2\n"
    )
    return folder


def test_the_package_builds_on_public_modules_of_the_house_alone(elsewhere: Path) -> None:
    imported = set()
    for source in (elsewhere / "site" / PACKAGE).glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.ImportFrom):
                continue
            names = {alias.name for alias in node.names}
            assert not {name for name in names if name.startswith("_")}, f"{source.name}: {node.module}"
            submodules = {f"{node.module}.{name}" for name in names} & PUBLIC
            imported |= submodules or {str(node.module)}
    ours = {module for module in imported if module.partition(".")[0] in ("cluster", "trainables", "tuning")}
    assert ours == PUBLIC


@pytest.mark.timeout(SECONDS)
def test_all_tests_of_pbt_pass_on_the_package(elsewhere: Path) -> None:
    """A plan's contract, a whole study's, and what members do in virtual time."""
    product = elsewhere / "product"
    paths = [product, product / "tuning/api", elsewhere / "site"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "-m", "unit or tune", "-k", "pbt or pb2 or evolution"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, TESTS],
        cwd=product,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    passed = int(done.stdout.splitlines()[-1].partition(" passed")[0].split()[-1])
    assert passed > 60, done.stdout[-2000:]
