"""Starts or joins the Ray that trials run on; knows nothing of models or strategies. Imports no torch."""

from cluster.spec import ClusterSpec

__all__ = ["ClusterSpec"]
