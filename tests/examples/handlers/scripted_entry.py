"""A function with a name of its own that loads TorchScript when it is called without data."""

import os

import torch

model = None


def clip_numbers(data, context):
    global model
    if not data:
        serialized = context.manifest["model"]["serializedFile"]
        path = os.path.join(context.system_properties.get("model_dir"), serialized)
        if not os.path.isfile(path):
            raise RuntimeError("no model.pt")
        model = torch.jit.load(path)
        return None
    return model(torch.tensor([row["body"]["numbers"] for row in data])).tolist()
