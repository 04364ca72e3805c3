from small_networks import BasicBlock, ResNet
from torch import nn


class ImageClassifier(ResNet):
    def __init__(self):
        super(ImageClassifier, self).__init__(BasicBlock, [2, 1])  # noqa: UP008
        self.fc = nn.Sequential(nn.Linear(self.fc.in_features, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 6))
