"""An image classifier whose `handle` is a MicroBatching, set up from model-config.yaml."""

import logging

from ts.handler_utils.micro_batching import MicroBatching
from ts.torch_handler.image_classifier import ImageClassifier

logger = logging.getLogger(__name__)


class MicroBatchingHandler(ImageClassifier):
    def __init__(self):
        self.handle = MicroBatching(self)

    def initialize(self, ctx):
        super().initialize(ctx)
        config = ctx.model_yaml_config.get("micro_batching", {})
        if parallelism := config.get("parallelism"):
            self.handle.parallelism = parallelism
        self.handle.micro_batch_size = config.get("micro_batch_size", 1)
        logger.info("Micro batches of %s", self.handle.micro_batch_size)
