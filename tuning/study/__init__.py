"""Runs and resumes the studies of an experiment, side by side, until they are finished in the store."""
