"""A handler for large bodies: a number is answered with so many bytes, anything else with its length.

A module function and no import, so that it runs on TorchServe and on torchkeeper alike.
"""


def handle(data, context):
    """Returns bytes or a length for each request; None while the worker initialises."""
    if data is None:
        return None
    bodies = [bytes(row.get("data") or row.get("body")) for row in data]
    return [bytes(int(body)) if len(body) < 12 else str(len(body)) for body in bodies]
