"""The convolutional network of PyTorch's MNIST example."""

import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    """Digits from 28 x 28 grey images.

    Shape: float32 (N, 1, 28, 28), normalised with mean 0.1307 and deviation 0.3081,
    to (N, 10) log-probabilities.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        # The first dropout drops whole channels of a 4-D input, the second single features of a 2-D one.
        self.dropout1 = nn.Dropout2d(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = self.dropout2(x)
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)
