"""What can be asked of the server, whatever the protocol."""
