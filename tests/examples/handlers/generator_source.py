"""The network whose source the archive brings as a zip file, as `networks/generator.py`."""

import torch
from torch import nn


class Generator(nn.Module):
    def __init__(self, store_average):
        super().__init__()
        self.layer = nn.Linear(4, 3 * 8 * 8)
        self.store_average = store_average

    def noise(self, number, wishes):
        wish = sum(len(str(value)) for value in wishes.values())
        return torch.linspace(-1, 1, 4 * number).reshape(number, 4) + wish

    def test(self, noise):
        return torch.sigmoid(self.layer(noise)).reshape(-1, 3, 8, 8)
