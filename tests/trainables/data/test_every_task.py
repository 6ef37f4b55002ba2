"""The contract of every task that is found."""

from __future__ import annotations

import pytest

from trainables.tasks import find_tasks
from tuning.testing.task_contract import TaskContract

pytestmark = pytest.mark.unit

for _name, _task in find_tasks().items():
    _class = f"Test_{_name.replace('/', '_')}"
    globals()[_class] = type(_class, (TaskContract,), {"task": _task})
