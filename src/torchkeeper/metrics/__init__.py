"""Numbers: what handlers record and what the server counts."""
