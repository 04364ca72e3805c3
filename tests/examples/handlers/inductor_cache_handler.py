"""Compiles its model with the caches that model-config.yaml names, and says what they were good for."""

import logging
import os

import torch
import torch._inductor.config
from torch._dynamo.utils import counters

from ts.torch_handler.image_classifier import ImageClassifier

logger = logging.getLogger(__name__)


class CachingHandler(ImageClassifier):
    def __init__(self):
        super().__init__()
        self.initialized = False

    def initialize(self, ctx):
        self.context = ctx
        self.manifest = ctx.manifest
        caching = ctx.model_yaml_config.get("handler", {}).get("torch_inductor_caching", {})
        if caching.get("torch_inductor_fx_graph_cache", False):
            torch._inductor.config.fx_graph_cache = True
        if "torch_inductor_cache_dir" in caching:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = caching["torch_inductor_cache_dir"]
        super().initialize(ctx)
        self.initialized = True

    def inference(self, data, *args, **kwargs):
        with torch.inference_mode():
            results = self.model(data.to(self.device), *args, **kwargs)
        if torch._inductor.config.fx_graph_cache:
            found = counters["inductor"]
            logger.info(
                f"graphs in the cache {found['fxgraph_cache_hit']}, compiled {found['fxgraph_cache_miss']}"
            )
        return results
