"""Worker processes: their imports before the first trial, how code reaches them, which signals they ignore."""
