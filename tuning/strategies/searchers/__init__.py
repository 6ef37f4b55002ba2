"""Searchers and schedulers for Ray Tune that the strategies wire: ASHA, TPE, and population-based training."""
