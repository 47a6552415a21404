"""Connections to nodes in the raw wire protocol, and the pool of them that each node has."""
