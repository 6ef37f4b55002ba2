"""`Trainer.hyperparameter_search`, as tunefleet runs it: from a Trainer or a factory to a `BestRun`."""
