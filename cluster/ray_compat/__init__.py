"""All private parts of Ray Core that are imported, read against the releases that pyproject.toml allows.

Built on how Ray behaves inside, without importing it: `cluster.workers.forking`.
"""
