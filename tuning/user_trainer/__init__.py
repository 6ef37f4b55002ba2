"""`Trainer.hyperparameter_search`, as tunefleet runs it: from a Trainer or a factory to a `BestRun`.

This is the user's side, in the script: keywords, search spaces, results. What a trial does with the Trainer on a worker
is `trainables.user_trainer`.
"""
