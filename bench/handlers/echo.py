"""A handler without a model: what comes in goes out, so that only the server itself is measured.

A module function and no import, so that it runs on TorchServe and on torchkeeper alike.
"""


def handle(data, context):
    """Returns each request's bytes as they came; None while the worker initialises."""
    if data is None:
        return None
    return [row.get("data") or row.get("body") for row in data]
