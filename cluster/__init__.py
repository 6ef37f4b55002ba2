"""Where trials run: knows Ray, nothing of models or strategies. Imports without torch."""

from cluster.spec import ClusterSpec

__all__ = ["ClusterSpec"]
