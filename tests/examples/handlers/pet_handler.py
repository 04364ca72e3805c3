"""Tells cats from dogs on pictures that come as base64 text, as a workflow's step before it sends them."""

import base64

from ts.torch_handler.image_classifier import ImageClassifier

PETS = ["cat", "dog", "hamster", "canary", "carp", "gecko"]


class PetClassifier(ImageClassifier):
    def preprocess(self, data):
        rows = []
        for row in data:
            text = row.get("data") or row.get("body")
            rows.append({"body": base64.b64decode(text)})
        return ImageClassifier.preprocess(self, rows)

    def postprocess(self, predictions):
        return [PETS[prediction.argmax()] for prediction in predictions]
