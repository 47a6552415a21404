"""`pgproxy shell`: a client for people. It knows the proxy only as any client does: by its port."""
