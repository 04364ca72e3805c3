"""Helpers without torch."""
