"""A handler that counts what it does, in each of the ways of TorchServe's documentation of metrics."""

import threading
import time

from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes
from ts.torch_handler.base_handler import BaseHandler


class CountingHandler(BaseHandler):
    def initialize(self, context):
        self.context = context
        metrics = context.metrics
        self.asked = metrics.add_metric_to_cache(
            metric_name="Asked", unit="count", dimension_names=[], metric_type=MetricTypes.COUNTER
        )
        metrics.add_metric_to_cache(
            metric_name="Batches",
            unit="count",
            dimension_names=["ModelName"],
            metric_type=MetricTypes.COUNTER,
        )
        metrics.add_metric(name="Loads", value=1, unit="count", metric_type=MetricTypes.COUNTER)
        loading = threading.Thread(target=lambda: metrics.add_counter("LoadsInThreads", 1))
        loading.start()
        loading.join()
        self.initialized = True

    def preprocess(self, data):
        metrics = self.context.metrics
        self.asked.add_or_update(value=len(data), dimension_values=[])
        batches = metrics.get_metric(metric_name="Batches", metric_type=MetricTypes.COUNTER)
        batches.add_or_update(value=1, dimension_values=[self.context.model_name])
        size = metrics.get_metric(metric_name="BatchSize", metric_type=MetricTypes.GAUGE)
        size.update(
            value=len(data),
            request_id=self.context.get_request_id(),
            dimensions=[Dimension("ModelName", self.context.model_name)],
        )
        texts = [row.get("data") or row.get("body") for row in data]
        metrics.add_size("LengthOfText", len(texts[0]) / 4, idx=None, unit="kB")
        metrics.add_error("LastError", "none so far")
        return texts

    def inference(self, texts):
        def count(place, text):
            label = [Dimension(name="Place", value=place)]
            self.context.metrics.add_time("TimeInThreads", len(text) * 1.5, place, "ms", label)

        threads = [threading.Thread(target=count, args=each) for each in enumerate(texts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [len(text) for text in texts]

    def postprocess(self, lengths):
        metrics = self.context.metrics
        metrics.add_counter(name="Answered", value=len(lengths), idx=None, dimensions=[])
        metrics.add_percent("Share", value=50, idx=None, metric_type=MetricTypes.HISTOGRAM)
        metrics.add_time("Clock", time.time(), unit="s")
        return lengths
