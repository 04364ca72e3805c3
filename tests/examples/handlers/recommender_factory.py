"""A model file whose one class makes a network of another class, from a config beside it."""

from recommender_config import DEFAULT
from recommender_network import Recommender


class RecommenderFactory(type):
    def __new__(cls, config=None):
        return Recommender(config or DEFAULT)
