"""Runs the same list of trials through tunefleet, its peers and the limit: `python -m benchmarks.throughput --help`."""
