"""What is written down, off the request's path."""
