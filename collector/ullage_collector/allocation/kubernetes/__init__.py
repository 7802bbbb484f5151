"""Kubernetes at the collector: pods, nodes and device claims of API servers to holdings; only ever reads."""
