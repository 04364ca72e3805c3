"""What each URL means, and how answers and errors look there; no sockets here."""
