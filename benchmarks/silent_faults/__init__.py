"""What `Trainer.hyperparameter_search` gets wrong without a word, and what tunefleet makes of the same searches."""
