"""Measures what `Trainer.hyperparameter_search` gets wrong silently, and tunefleet with the same searches."""
