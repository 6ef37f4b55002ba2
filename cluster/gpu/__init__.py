"""GPUs that several trials share: how many fit, and the MPS daemon."""
