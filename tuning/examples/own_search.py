"""A search from Python: a factory of Trainers, two strategies, and what comes back of them.

The factory is that of `token_classification.py`, beside this file. `python own_search.py` searches and writes the page.
"""

from __future__ import annotations

import tunefleet
from tuning.examples.token_classification import make_trainer

if __name__ == "__main__":
    best = tunefleet.hyperparameter_search(
        make_trainer,  # or a Trainer that was made with model_init=...
        {
            "learning_rate": {"loguniform": [3e-4, 3e-3]},  # or Ray's tune.loguniform(...), or a function of a trial
            "per_device_train_batch_size": {"choice": [8, 16, 32]},
            "weight_decay": {"uniform": [0, 0.1]},
        },
        objective={"metric": "f1", "mode": "max"},  # as compute_metrics names it
        n_trials=4,
        epochs=2,
        strategies=["hyperopt_asha", "pbt"],  # each with n_trials; PBT: a population of so many
    )

    print(f"F1 {best.objective:.3f} with {best.hyperparameters}")
    for trial in best.run_summary.trials:
        print(f"  trial {trial.name}: {[round(report.metrics['f1'], 3) for report in trial.reports]}")
    for stretch in best.run_summary.schedule:  # of PBT several: the values changed on the way to the best weights
        print(f"  epochs {stretch.start:g} to {stretch.end:g}: {stretch.params}")
    print(f"weights: {best.run_summary.checkpoint}")
    print(f"page: {best.run_summary.report('own-search.html')}")
