import torch


class Tone(torch.nn.Module):
    def __init__(self, letters, samples):
        super().__init__()
        self.waves = torch.nn.Embedding(letters, samples)

    def forward(self, ids):
        return self.waves(ids).flatten(1)
