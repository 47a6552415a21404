"""pgproxy: one PostgreSQL server to its clients, many nodes behind it."""

__version__ = "0.1.0"
