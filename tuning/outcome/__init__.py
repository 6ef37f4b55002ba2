"""What came out of an experiment: frozen results, as the study store gives them back."""
