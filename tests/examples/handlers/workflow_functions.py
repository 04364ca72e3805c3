"""The functions of a workflow: each is a model of its own where there are no workflows."""

import base64
import json


def pre_processing(data, context):
    if data is None:
        return data
    return [base64.b64encode(row.get("data") or row.get("body")).decode() for row in data]


def aggregate_func(data, context):
    if data:
        length = json.loads(data[0].get("length"))
        upper = data[0].get("upper").decode()
        return [{"length": length, "upper": upper}]
    return None
