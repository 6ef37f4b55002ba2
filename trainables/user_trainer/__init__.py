"""A user's own Trainer as a trial: building it from the trial's values, driving it, and shipping it to workers.

This is the worker's side, for any spec that names a Trainer. `Trainer.hyperparameter_search`, by which a script begins
a search of its Trainer, is `tuning.user_trainer`.
"""
