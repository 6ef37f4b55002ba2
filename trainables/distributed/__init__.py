"""Several processes that compute one trial: summed gradients, authenticated messages, divided batches."""
