"""A user's own Trainer as a trial: building it from the trial's values, driving it, and shipping it to workers."""
