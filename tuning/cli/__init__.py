"""The command `tunefleet`: a file for each group of commands."""
