"""Searchers for Ray Tune that the strategies wire: they propose the values of trials."""
