"""Writes down what a recording says: a class of its own, with the model's own files read by hand."""

import io
import json
import os
import wave

import torch


class ListenerHandler(object):  # noqa: UP004
    def __init__(self):
        self._context = None
        self.initialized = False
        self.expected_sampling_rate = 16_000

    def initialize(self, context):
        self._context = context
        self.initialized = True
        folder = context.system_properties.get("model_dir")
        self.model = torch.load(os.path.join(folder, "pytorch_model.bin"))
        with open(os.path.join(folder, "vocab.json")) as file:
            self.letters = {number: letter for letter, number in json.load(file).items()}

    def handle(self, data, context):
        recording = data[0].get("data")
        if recording is None:
            recording = data[0].get("body")
        with wave.open(io.BytesIO(recording)) as file:
            rate = file.getframerate()
            samples = torch.frombuffer(bytearray(file.readframes(file.getnframes())), dtype=torch.int16)
        if rate != self.expected_sampling_rate:
            samples = samples[:: rate // self.expected_sampling_rate]
        frames = samples.float().reshape(-1, len(self.model))
        numbers = torch.argmax(frames @ self.model, dim=-1)
        return ["".join(self.letters[number] for number in numbers.tolist())]
