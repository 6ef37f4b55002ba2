"""Kills runs and checks that what they had reported is recorded, and nothing else: `python -m benchmarks.faults`."""
