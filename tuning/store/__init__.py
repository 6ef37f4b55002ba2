"""The study store: the results of all experiments, in an Optuna database."""
