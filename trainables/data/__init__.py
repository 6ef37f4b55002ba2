"""Tokenised data sets of a task: encoding, the dataset cache, summaries, warnings, and hashes of rows."""
