"""What a script or a notebook does with experiments: the functions of `tunefleet`, and how results show themselves."""
