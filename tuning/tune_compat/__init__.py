"""Every private part of Ray Tune that is used; read against the releases that pyproject.toml allows."""
