"""Where trials run: starts or joins Ray, and knows nothing of models or strategies. Imports no torch."""

from cluster.spec import ClusterSpec

__all__ = ["ClusterSpec"]
