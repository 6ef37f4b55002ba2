"""Checkpoints of trials: manifests, states in shared memory and on storage, and replays of how weights came to be."""
