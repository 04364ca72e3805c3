"""A function as a workflow's first step: what comes in goes on as base64 text."""

import base64


def encode(data, context):
    if data is None:
        return data
    return [base64.b64encode(row.get("data") or row.get("body")).decode() for row in data]
