"""What the front counts, and how it is read."""
