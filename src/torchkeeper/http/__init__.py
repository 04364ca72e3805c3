"""Bytes to requests and back: connections, limits, TLS. Knows no path and no model."""
