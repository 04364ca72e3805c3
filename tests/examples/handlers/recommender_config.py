"""Sizes of the recommender, imported by its factory and its handler."""

from dataclasses import dataclass


@dataclass
class RecommenderConfig:
    dense_features: int
    keys: list[str]
    rows: list[int]
    width: int


DEFAULT = RecommenderConfig(dense_features=3, keys=["film", "user"], rows=[7, 5], width=4)
