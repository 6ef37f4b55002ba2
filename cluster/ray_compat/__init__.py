"""Every private part of Ray Core that is used; read against the releases that pyproject.toml allows."""
