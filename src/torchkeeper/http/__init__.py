"""The porch: bytes to requests and back."""
