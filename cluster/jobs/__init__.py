"""Experiments as jobs on another cluster: its dashboard, and the Jobs API behind it."""
