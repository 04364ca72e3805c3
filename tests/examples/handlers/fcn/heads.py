from torch import nn


class FCNHead(nn.Sequential):
    def __init__(self, in_channels, channels):
        layers = [nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU(), nn.Dropout(0.1)]
        super(FCNHead, self).__init__(*layers, nn.Conv2d(4, channels, 1))  # noqa: UP008
