"""Handlers over several processes: left out."""
