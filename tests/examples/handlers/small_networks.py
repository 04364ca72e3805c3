"""Networks for pictures in the shapes of torchvision's, in small."""

import torch
from torch import nn


class AlexNet(nn.Module):
    def __init__(self, num_classes=6, dropout=0.5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, kernel_size=11, stride=8, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(4, 8, kernel_size=5, padding=2),
            nn.ReLU(inplace=True),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout), nn.Linear(32, 8), nn.ReLU(inplace=True), nn.Linear(8, num_classes)
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class _DenseLayer(nn.Module):
    def __init__(self, inputs, growth_rate):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, growth_rate, kernel_size=3, padding=1, bias=False)

    def forward(self, x):
        return torch.cat([x, self.conv1(torch.relu(self.norm1(x)))], 1)


class DenseNet(nn.Module):
    def __init__(self, growth_rate=4, block_config=(2, 2), num_init_features=4, num_classes=6):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, num_init_features, kernel_size=7, stride=8))
        channels = num_init_features
        for block, layers in enumerate(block_config):
            for layer in range(layers):
                name = f"denseblock{block + 1}_denselayer{layer + 1}"
                self.features.add_module(name, _DenseLayer(channels, growth_rate))
                channels += growth_rate
            self.features.add_module(f"transition{block + 1}", nn.AvgPool2d(2))
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x):
        return self.classifier(torch.relu(self.features(x)).mean((2, 3)))


class BasicBlock(nn.Module):
    def __init__(self, inputs, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.downsample = nn.Conv2d(inputs, planes, kernel_size=1, stride=stride, bias=False)

    def forward(self, x):
        return torch.relu(self.bn1(self.conv1(x)) + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self, block, layers, num_classes=6):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, kernel_size=7, stride=4, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=4)
        for number, blocks in enumerate(layers):
            inputs = 4 * 2 ** max(0, number - 1)
            planes = 4 * 2**number
            made = [block(inputs if place == 0 else planes, planes) for place in range(blocks)]
            self.add_module(f"layer{number + 1}", nn.Sequential(*made))
        self.layers = len(layers)
        self.fc = nn.Linear(planes, num_classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for number in range(self.layers):
            x = self.get_submodule(f"layer{number + 1}")(x)
        return self.fc(x.mean((2, 3)))


class SqueezeNet(nn.Module):
    def __init__(self, version="1_0", num_classes=6):
        super().__init__()
        if version != "1_1":
            raise ValueError(f"Unsupported SqueezeNet version {version}")
        self.features = nn.Sequential(nn.Conv2d(3, 8, kernel_size=3, stride=8), nn.ReLU(inplace=True))
        self.classifier = nn.Sequential(
            nn.Dropout(p=0.5), nn.Conv2d(8, num_classes, kernel_size=1), nn.AdaptiveAvgPool2d((1, 1))
        )

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


cfgs = {"D": [4, "M", 8, "M"]}


def make_layers(cfg, batch_norm):
    layers = []
    inputs = 3
    for planes in cfg:
        if planes == "M":
            layers.append(nn.MaxPool2d(kernel_size=4, stride=4))
            continue
        layers.append(nn.Conv2d(inputs, planes, kernel_size=3, stride=2, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(planes))
        layers.append(nn.ReLU(inplace=True))
        inputs = planes
    return nn.Sequential(*layers)


class VGG(nn.Module):
    def __init__(self, features, num_classes=6, init_weights=True):
        super().__init__()
        self.features = features
        self.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, num_classes))
        if init_weights:
            nn.init.normal_(self.classifier[-1].weight, 0, 0.01)

    def forward(self, x):
        return self.classifier(self.features(x))
