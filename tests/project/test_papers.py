"""The papers are true: every path, module, link and file of a tree that they name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PAPERS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("cluster", "trainables", "tuning", "benchmarks", "tests", "docker")
    for path in (ROOT / folder).rglob("*.md")
    if "results" not in path.parts
)
PAPERS.insert(0, "README.md")
TOP = ("cluster", "trainables", "tuning", "benchmarks", "tests", "docker")
DOTTED = re.compile(rf"^(?:{'|'.join(TOP)})(?:\.\w+)+$")
PATH = re.compile(rf"^(?:{'|'.join(TOP)})(?:/[\w.*-]+)+/?$")
MOST_LINES = 200


def backticked(paper: str) -> Iterator[str]:
    """Yields what stands between single backticks, outside of fenced blocks."""
    prose = "".join((ROOT / paper).read_text().split("```")[::2])
    yield from re.findall(r"`([^`\n]+)`", prose)


def exists(dotted: str) -> bool:
    """True if `dotted` is a module, or a name that stands in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        module = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if module.is_file():
            return all(re.search(rf"\b{name}\b", module.read_text()) for name in parts[length:])
    return False


def test_the_readme_is_short_and_shows_the_page() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.count("\n") <= MOST_LINES
    assert re.search(r"!\[.+\]\(.+\.png\)", readme)


@pytest.mark.parametrize("paper", PAPERS)
def test_the_modules_and_paths_that_a_paper_names_exist(paper: str) -> None:
    missing = []
    for name in backticked(paper):
        word = name.partition("::")[0].partition("(")[0]
        if DOTTED.match(word) and not word.endswith((".py", ".md", ".yaml", ".json")):
            if not exists(word) and not is_option(word):
                missing.append(name)
        elif PATH.match(word) and not any(list(base.glob(word.rstrip("/"))) for base in (ROOT, ROOT / "tests")):
            missing.append(name)  # papers name tests by their path below tests/
    assert missing == []


def is_option(dotted: str) -> bool:
    """True if it is a key of the spec's section `cluster`."""
    from cluster.spec import ClusterSpec

    section, _, key = dotted.partition(".")
    return section == "cluster" and key in ClusterSpec.model_fields


@pytest.mark.parametrize("paper", PAPERS)
def test_the_links_of_a_paper_lead_somewhere(paper: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / paper).read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / paper).parent / path if path else ROOT / paper
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def anchors(file: Path) -> set[str]:
    """Returns the anchors of a Markdown file's headings, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("walk", "least"), [("resume", 20), ("extend", 15), ("failure", 20)])
def test_a_walk_through_the_code_names_files_and_functions_that_are_there(walk: str, least: int) -> None:
    text = (ROOT / "tuning/README.md").read_text().partition(f"## Follow one {walk}")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([\w./]+)`", text)) - {"tune.run"}
    files = {name for name in named if name.endswith((".py", "/"))}
    assert {name for name in files if not ((ROOT / "tuning" / name).exists() or (ROOT / name).exists())} == set()
    sources = "".join(path.read_text() for top in ("tuning", "trainables") for path in (ROOT / top).rglob("*.py"))
    defined = set(re.findall(r"^ *(?:def |class )?(\w+)(?: = |\(|:)", sources, re.MULTILINE))
    wanted = {part for name in named - files - {"spec.yaml"} for part in name.split(".")}
    assert len(wanted) > least
    assert wanted - defined == set()


@pytest.mark.parametrize("paper", PAPERS)
def test_what_a_paper_names_in_a_file_is_defined_there(paper: str) -> None:
    """Such a name is FILE::NAME; the file is named from the checkout, from `tests/` or from the paper's folder."""
    missing = []
    for name, file, inside in re.findall(r"`(([\w./]+\.py)::([\w.]+))`", (ROOT / paper).read_text()):
        places = [base / file for base in (ROOT, ROOT / "tests", (ROOT / paper).parent) if (base / file).is_file()]
        source = places[0].read_text() if places else ""
        if not all(
            re.search(rf"^ *(def |class )?{part}( = |\(|:)", source, re.MULTILINE) for part in inside.split(".")
        ):
            missing.append(name)
    assert missing == []


def test_the_table_of_decisions_names_functions_in_files() -> None:
    table = (ROOT / "tuning/README.md").read_text().partition("## Where it is decided")[2].partition("\n## ")[0]
    assert table.count(".py::") > 10


@pytest.mark.parametrize("package", [name for name in TOP if f"{name}/README.md" in PAPERS and name != "tests"])
def test_the_file_tree_of_a_package_names_what_is_there_and_every_folder(package: str) -> None:
    """A tree is the first fenced block without a language; folders end with a slash."""
    blocks = (ROOT / package / "README.md").read_text().split("```")[1::2]
    tree = next(block for block in blocks if block.startswith("\n"))
    folder, missing, named = ROOT / package, [], set()
    for line in tree.strip("\n").splitlines():
        if not line.startswith(" "):
            (first, *_), folder = re.findall(r"[\w/.]+", line), ROOT / package
            named |= set(re.findall(r"(?<![\w/])(\w+)/(?=\s)", line))
            folder = folder / first if first.endswith("/") else folder
            if not (ROOT / package / first).exists():
                missing.append(first)
        missing += [name for name in re.findall(r"\b\w+\.py\b", line) if not any(folder.rglob(name))]
    assert missing == []
    folders = {path.name for path in (ROOT / package).iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders - named == set()
