"""The nodes of a cluster: starting them, their head, tokens, and nodes that come and go."""
