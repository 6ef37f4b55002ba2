"""Checkpoints of trials: manifests, states in shared memory and on storage, and recomputation of lost states."""
