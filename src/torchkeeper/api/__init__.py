"""What each URL means; no sockets here."""
