"""`tunefleet validate`: every mistake of a spec, or what the experiment is going to do; nothing is started."""

from __future__ import annotations

import click

from tuning.cli.command import Command
from tuning.cli.exit_status import SUCCESS
from tuning.cli.parameters import overrides_argument, spec_argument


@click.command(cls=Command)
@spec_argument
@overrides_argument
def validate_command(spec: str, overrides: tuple[str, ...]) -> int:
    """Check a spec and name every mistake; nothing is started."""
    from trainables.tasks.row_cache import rows_cached
    from tuning.cli.next_steps import after_validate
    from tuning.earlier_trials import earlier_lines, with_earlier_trials
    from tuning.report.data_summary import data_lines, local_summary
    from tuning.report.planned import experiment_lines
    from tuning.spec.loading import load_spec, translation_lines
    from tuning.spec.validation.before_run import require_ending_warmups, require_runnable
    from tuning.spec.validation.cautions import cautions
    from tuning.study.user_studies import read_user_studies

    with rows_cached():  # the check reads them, and the summary below needs them again
        checked = load_spec(spec, overrides)
        require_runnable(checked)
        known = read_user_studies(checked)
        checked = with_earlier_trials(checked)
        require_ending_warmups(checked, data := local_summary(checked))
    for line in (*translation_lines(spec, overrides), *experiment_lines(checked, data), *known):
        print(line)
    for line in earlier_lines(checked):
        print(f"  {line}")
    for caution in cautions(checked):
        print(f"  note: {caution}")
    if data is not None:
        print(*data_lines(data, checked.resolved_objective().metric), sep="\n")
    elif checked.trainable == "finetune":
        print(f"data: {checked.data.hub or checked.task} is looked at when a run starts")
    print(after_validate(spec, overrides))
    return SUCCESS
