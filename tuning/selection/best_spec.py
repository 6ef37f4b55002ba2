"""`best.yaml`: an experiment of one configuration, the winner, that `tunefleet run` takes."""

from __future__ import annotations

from trainables.spec import FineTuneSpec
from trainables.user_trainer.hp_space import suggested_values
from tuning.comparison.text import format_params
from tuning.outcome import Stretch
from tuning.selection.local_paths import find_local_paths, remove_local_paths, shorten_paths
from tuning.selection.winner import Winner
from tuning.spec.file import dump
from tuning.spec.models import ExperimentSpec

FILE = "best.yaml"
OWN = ("It names places of this machine; `train-final --push-to-hub` writes one that does not.",)
OTHERS = ("Places of the machine that made it are left out. Put yours in for what stands there by its name alone:",)


def best_spec(spec: ExperimentSpec, winner: Winner, *, for_others: bool = False) -> str:
    """Return a grid of a single point as YAML, on the data and the model of `spec`; `defaults` if nothing was proposed.

    A schedule stands in comments. A trial of the new experiment has the values of its end all the way, since only a
    population changes values in flight.

    Args:
        for_others: leave of each path of this machine its last part alone, and say so in a comment.
    """
    chosen = suggested_values(winner.candidate.schedule[-1].params)
    trial = next(trial for trial in winner.study.trials if trial.id == winner.candidate.trial)
    # A value that the chosen optimizer has no use for is not in force.
    proposed = trial.proposed(winner.candidate.epoch)
    searched = [name for name in proposed if name in chosen and name not in spec.fixed]
    task = {name: value for name, value in spec.plain().items() if name in FineTuneSpec.model_fields}
    trained = spec.trial_spec(winner.study.seed, winner.study.strategy)
    raw = {
        "name": f"{spec.name}-best",
        **task,
        # The values below are arguments of a function; the trainable gets what it returns for them.
        **({} if trained.hp_space is None else {"hp_space": trained.hp_space}),
        "seed": trained.seed,
        "space": {name: {"choice": [chosen[name]]} for name in searched},
        "strategies": [{"kind": "grid" if searched else "defaults"}],
    }
    origin = f"{winner.study.strategy}, seed {winner.study.seed}, trial {trial.name}"
    lines = [f"# The best configuration of {spec.name}: {origin} after epoch {winner.candidate.epoch:g}."]
    if len(winner.candidate.schedule) > 1:
        lines.append("# It is a schedule: below are the values at its end. `train-final` replays what was in force:")
        lines += [f"#   {line}" for line in schedule_lines(winner.candidate.schedule)]
    if places := find_local_paths(raw):
        lines += [f"# {line}" for line in (OTHERS if for_others else OWN)]
        lines += [f"#   {key}" for key in places] if for_others else []
    if for_others:
        lines = [remove_local_paths(line, raw) for line in lines]
        raw = shorten_paths(raw, spec.data.path)
    return "\n".join([*lines, dump(raw)])


def schedule_lines(schedule: tuple[Stretch, ...]) -> list[str]:
    """Return one line per stretch of a schedule, with the values that change along the way."""

    def moving(name: str) -> bool:
        return len({repr(stretch.params.get(name)) for stretch in schedule}) > 1

    names = [name for name in schedule[-1].params if moving(name)]
    changing = [(s, {name: s.params.get(name) for name in names}) for s in schedule]
    return [f"epochs {stretch.start:g} to {stretch.end:g}: {format_params(values)}" for stretch, values in changing]
