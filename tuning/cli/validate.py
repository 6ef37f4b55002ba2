"""`tunefleet validate`: every mistake of a spec, or what the experiment is going to do; nothing is started."""

from __future__ import annotations

import argparse

from tuning.cli.terminal import SUCCESS, Add


def add_validate(add: Add) -> argparse.ArgumentParser:
    """Declare it; returns it for the words that change the spec."""
    sub = add("validate", _validate, "check a spec and name every mistake; nothing is started")
    sub.add_argument("spec", metavar="SPEC", help="a YAML file, or a preset (tunefleet ls presets)")
    return sub


def _validate(arguments: argparse.Namespace) -> int:
    from trainables.tasks.row_cache import rows_cached
    from trainables.wording import counted
    from tuning.cli.next_steps import after_validate
    from tuning.cli.planned import planned_lines, trained_in_words, verdict_line
    from tuning.report.data_summary import data_lines, local_summary
    from tuning.spec.loading import load_spec
    from tuning.spec.validation.before_run import require_ending_warmups, require_runnable
    from tuning.spec.validation.cautions import cautions

    with rows_cached():  # what the check has read is told below
        spec = load_spec(arguments.spec, arguments.overrides)
        require_runnable(spec)
        require_ending_warmups(spec, data := local_summary(spec))
    objective = spec.resolved_objective()
    better = "higher" if objective.mode == "max" else "lower"
    seeds = f"seed{'' if len(spec.seeds) == 1 else 's'} {', '.join(map(str, spec.seeds))}"
    each = f"{counted(spec.epochs, 'epoch')} per trial"
    print(f"{spec.name}: valid")
    print(f"  {trained_in_words(spec)}; {objective.metric}, {better} is better; {each}; {seeds}")
    for line in planned_lines(spec):
        print(f"    {line}")
    if (limit := spec.budget.limit) is not None:
        outside = " and ".join(one.name for one in spec.strategies if not one.searches)
        but = f"; {outside} is outside: it takes what its trial takes" if outside else ""
        print(f"  each study ends at {limit.describe()}, whatever its strategy would still do{but}")
        for strategy in filter(spec.limit_of, spec.strategies) if limit.unit == "epochs" else ():
            planned = strategy.planned_epochs(spec.space_of(strategy), spec.epochs)
            if planned is not None and planned > limit.amount:
                print(f"  {strategy.name} plans {planned:g} epochs: it is cut")
        for strategy in spec.strategies:
            if strategy.when_cut and spec.may_cut(strategy):
                print(f"  {strategy.name} may be cut by it, so {strategy.when_cut}")
    if (verdict := verdict_line(spec, data)) is not None:
        print(f"  {verdict}")
    print(f"  run folder {spec.run_folder}")
    for caution in cautions(spec):
        print(f"  note: {caution}")
    if data is not None:
        print(*data_lines(data, objective.metric), sep="\n")
    elif spec.trainable == "finetune":
        print(f"data: {spec.data.hub or spec.task} is looked at when a run starts")
    print(after_validate(arguments.spec, arguments.overrides))
    return SUCCESS
