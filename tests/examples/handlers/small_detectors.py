"""Detectors in the shape of torchvision's, in small: each quarter of a picture is a box."""

import torch
from torch import nn


def backbone(name, pretrained):
    return nn.Linear(3, 4)


class FasterRCNN(nn.Module):
    def __init__(self, backbone, num_classes, **kwargs):
        super().__init__()
        self.backbone = backbone
        self.box_predictor = nn.Linear(4, num_classes)

    def forward(self, images, targets=None):
        if self.training:
            raise ValueError("In training mode, targets should be passed")
        return [self.detect(image) for image in images]

    def detect(self, image):
        height, width = image.shape[-2] / 2, image.shape[-1] / 2
        corners = [(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)]
        boxes = torch.tensor([[x, y, x + width, y + height] for x, y in corners])
        means = nn.functional.adaptive_avg_pool2d(image, 2).flatten(1).T
        scores, labels = self.box_predictor(torch.tanh(self.backbone(means))).softmax(1)[:, 1:].max(1)
        order = scores.argsort(descending=True)
        return {"boxes": boxes[order], "labels": labels[order] + 1, "scores": scores[order]}


class MaskRCNN(FasterRCNN):
    def detect(self, image):
        found = super().detect(image)
        masks = torch.zeros(len(found["boxes"]), 1, *image.shape[-2:])
        for mask, (left, top, right, bottom) in zip(masks, found["boxes"].long().tolist(), strict=True):
            mask[0, top:bottom, left:right] = 1
        return {**found, "masks": masks}
