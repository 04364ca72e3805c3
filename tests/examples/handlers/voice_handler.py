"""Says texts with a speaker's voice; its models are folders beside it, named as seen from there."""

import io
import wave

import torch

from ts.torch_handler.base_handler import BaseHandler


class VoiceHandler(BaseHandler):
    def __init__(self):
        self.model = None
        self.speaker = None

    def initialize(self, ctx):
        section = ctx.model_yaml_config["handler"]
        self.model = torch.load(f"{section['model']}/weights.pt")
        self.speaker = torch.load(f"{section['speaker_embeddings']}/voice.pt")[7]

    def preprocess(self, requests):
        assert len(requests) == 1, "This is currently supported with batch_size=1"
        text = requests[0].get("data") or requests[0].get("body")
        if isinstance(text, (bytes, bytearray)):
            text = text.decode("utf-8")
        return torch.tensor([ord(letter) for letter in text])

    def inference(self, inputs):
        return self.model[inputs] * self.speaker

    def postprocess(self, inference_output):
        spoken = io.BytesIO()
        with wave.open(spoken, "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", None))
            file.writeframes(inference_output.to(torch.int16).numpy().tobytes())
        return [spoken.getvalue()]
