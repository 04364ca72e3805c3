"""Batching policies: which waiting requests go to which worker now, or when to ask again. Pure.

A policy is a module of its own and a row in `policies`.
"""
