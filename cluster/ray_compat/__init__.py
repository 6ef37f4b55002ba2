"""All private parts of Ray Core that are used, read against the releases that pyproject.toml allows."""
