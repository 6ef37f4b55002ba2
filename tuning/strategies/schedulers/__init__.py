"""Tune schedulers that the strategies wire: ASHA and population-based training."""
