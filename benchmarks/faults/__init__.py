"""Runs that are killed: what they had told must be there, and nothing else; `python -m benchmarks.faults`."""
