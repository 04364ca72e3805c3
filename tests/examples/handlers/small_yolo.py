"""A package in the shape of ultralytics': a model that loads its weights itself, and results as objects."""

import torch


class Boxes:
    def __init__(self, cls):
        self.cls = cls


class Results:
    def __init__(self, names, cls):
        self.names = names
        self.boxes = Boxes(cls)


class YOLO(torch.nn.Module):
    def __init__(self, path):
        super().__init__()
        self.names = {0: "person", 1: "bus", 2: "tie"}
        self.register_buffer("levels", torch.load(path, weights_only=True)["levels"])

    def forward(self, pictures):
        cells = torch.nn.functional.adaptive_avg_pool2d(pictures, 4).mean(1).flatten(1)
        return [Results(self.names, torch.bucketize(row, self.levels).float()) for row in cells]
