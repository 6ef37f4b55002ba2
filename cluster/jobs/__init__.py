"""Experiments as jobs on a cluster elsewhere: its dashboard, and what can be asked of it."""
