"""Several processes that compute one trial: gradients, messages, and how a batch is divided."""
