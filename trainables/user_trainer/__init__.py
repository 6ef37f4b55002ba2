"""Trials that compute with a `transformers.Trainer` of the user's own."""
