"""Pipelines of DALI: left out."""
