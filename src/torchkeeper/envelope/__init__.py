"""Foreign request forms around a handler."""
