"""The study store: everything that came out of every experiment, in an Optuna database."""
