"""Worker processes: what they import before their first trial, how code reaches them, which signals they ignore."""
