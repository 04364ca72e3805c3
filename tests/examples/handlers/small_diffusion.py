"""A package in the shape of diffusers', in small: texts to pictures."""

import json
import os
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

__version__ = "0.1"


class DiffusionPipeline:
    def __init__(self, unet):
        self.unet = unet

    @classmethod
    def from_pretrained(cls, folder):
        with open(os.path.join(folder, "model_index.json")) as file:
            features = json.load(file)["features"]
        unet = torch.nn.Linear(features, features)
        unet.load_state_dict(torch.load(os.path.join(folder, "unet", "weights.bin")))
        return cls(unet)

    def to(self, device):
        self.unet.to(device)
        return self

    @torch.no_grad()
    def __call__(self, prompts, guidance_scale, num_inference_steps, height, width):
        images = []
        for prompt in prompts:
            letters = torch.tensor(list(prompt.encode()), dtype=torch.float32)
            state = torch.nn.functional.adaptive_avg_pool1d(letters[None, None], self.unet.in_features)[0, 0]
            for _ in range(num_inference_steps):
                state = torch.tanh(self.unet(state / 100) * guidance_scale) * 100
            row = (state.abs().numpy() * 2.5).astype(np.uint8)
            images.append(Image.fromarray(np.resize(row, (height, width, 3))))
        return SimpleNamespace(images=images)
