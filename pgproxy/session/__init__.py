"""One client's conversation: start-up, statements, transactions, settings, and the way back to the client."""
