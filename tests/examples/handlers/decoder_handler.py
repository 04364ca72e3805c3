"""Decodes a recording by a TorchScript model that returns hypotheses."""

import os
import tempfile
import wave

import torch


class DecoderHandler(object):  # noqa: UP004
    def __init__(self):
        self._context = None
        self.initialized = False
        self.model = None

    def initialize(self, context):
        self.manifest = context.manifest
        folder = context.system_properties.get("model_dir")
        path = os.path.join(folder, self.manifest["model"]["serializedFile"])
        if not os.path.isfile(path):
            raise RuntimeError("the model's file is not there")
        self.model = torch.jit.load(path)
        self.initialized = True

    def handle(self, data, context):
        if isinstance(data, list):
            data = data[0]
        data = data.get("data") or data.get("body")
        with tempfile.TemporaryFile() as copy:
            copy.write(data)
            copy.seek(0)
            with wave.open(copy, "rb") as file:
                samples = torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16)
        with torch.no_grad():
            hypotheses = self.model(samples.float(), torch.tensor([len(samples)]), 1)
        return ["".join(chr(token) for token in hypotheses[0].tokens)]
