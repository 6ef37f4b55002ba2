"""A user's own Trainer as a trial: how it is made from the trial's values, driven, and carried to where it computes."""
