"""The worker processes of trials: what is imported before their first trial, what code reaches them, what they ignore."""
