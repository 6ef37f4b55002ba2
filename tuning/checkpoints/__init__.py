"""Where the states of trials lie, in shared memory and on the storage path, and which of them are kept."""
