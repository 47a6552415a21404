"""TLS on both sides of the proxy: the engine, the stream around it, and what is loaded from certificate files."""
