"""The HTTP side: a small API, metrics for Prometheus, and the live page. Runs in the proxy's own event loop."""
