"""The spec of an experiment: its fields, its file, and the checks before it runs."""
