"""Runs and resumes the studies of an experiment, one after the other, until they are finished in the store."""
