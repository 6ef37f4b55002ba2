"""The driver's side of checkpoints: where states lie, in shared memory and on the storage, and which of them stay."""
