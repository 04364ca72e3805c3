"""Helpers for unit tests of handlers."""
