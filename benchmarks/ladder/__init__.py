"""Measures on one GPU, within ten minutes, which of the ways to train many small models on it is worth building."""
