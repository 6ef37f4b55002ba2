"""One run of an experiment: from a spec to finished studies in the store."""
