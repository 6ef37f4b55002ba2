"""Weights & Biases: which mode is in force, where the key comes from, one run per trial."""
