"""Tasks by name: which exist, their presets, and the errors for unknown ones."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.data_files import (
    local_copy,
)
from trainables.spec import DataSpec
from trainables.tasks import TaskError, find_task, find_tasks, task_names
from trainables.tasks.text_classification import GLUE


@pytest.mark.unit
def test_every_glue_configuration_with_labels_is_a_task() -> None:
    names = {f"glue/{config}" for config in ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")}
    assert names <= set(find_tasks())
    assert find_task("glue/cola").objective.metric == "matthews_correlation"
    assert len(GLUE["mnli"][1]) == 3


@pytest.mark.unit
def test_an_unknown_task_names_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"task: 'glue/mrcp': is no known task; did you mean glue/mrpc\?"):
        find_task("glue/mrcp")


@pytest.mark.system
def test_listing_and_checking_tasks_imports_nothing_heavy(tmp_path: Path) -> None:
    options = local_copy(find_task("rte"), tmp_path / "data")
    program = (
        "import sys; from trainables.spec import DataSpec; from trainables.tasks import find_task\n"
        f"assert find_task('rte').check(DataSpec(path={options.path!r})) == []\n"
        "heavy = {'torch', 'transformers', 'datasets', 'ray', 'pandas', 'scipy', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.unit
def test_a_task_error_survives_the_way_from_a_worker() -> None:
    error = TaskError("data.label", "lable", "is no column", "did you mean label?")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.name, copy.value) == (str(error), "data.label", "lable")


@pytest.mark.unit
@pytest.mark.parametrize("name", task_names())
def test_a_preset_checks_clean_as_it_is_and_the_generic_ones_say_what_they_lack(name: str) -> None:
    problems = dict(find_task(name).check(DataSpec()))
    generic = name in ("text_classification", "text_regression")
    assert set(problems) == ({"data.path", "data.text", "data.label"} if generic else set())


@pytest.mark.unit
def test_a_revision_leaves_the_presets_source_as_it_is() -> None:
    options = find_task("rte").options(DataSpec(revision="abc"))
    assert (options.hub, options.config, options.revision) == ("nyu-mll/glue", "rte", "abc")
