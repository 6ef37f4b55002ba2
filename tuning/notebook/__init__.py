"""The functions of `tunefleet` for scripts and notebooks, and how results are displayed there."""
