"""The nodes of a cluster: how they are started, their head, their token, and nodes that join and leave."""
