"""Counts and measures what it does, in every way that `context.metrics` offers."""

import time

from digits_handler import ToInput

from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes
from ts.torch_handler.image_classifier import ImageClassifier


class MeasuringHandler(ImageClassifier):
    image_processing = ToInput()

    def initialize(self, context):
        super().initialize(context)
        metrics = context.metrics
        self.requests = metrics.add_metric_to_cache(
            metric_name="DigitRequests", unit="count", dimension_names=[], metric_type=MetricTypes.COUNTER
        )
        metrics.add_metric_to_cache(
            metric_name="DigitBatches",
            unit="count",
            dimension_names=["ModelName"],
            metric_type=MetricTypes.COUNTER,
        )
        metrics.add_metric(name="DigitLoads", value=1, unit="count", metric_type=MetricTypes.COUNTER)

    def preprocess(self, data):
        begin = time.time()
        metrics = self.context.metrics
        self.requests.add_or_update(value=len(data), dimension_values=[])
        batches = metrics.get_metric(metric_name="DigitBatches", metric_type=MetricTypes.COUNTER)
        batches.add_or_update(value=1, dimension_values=[self.context.model_name])
        size = metrics.get_metric(metric_name="DigitBatchSize", metric_type=MetricTypes.GAUGE)
        size.add_or_update(value=len(data), dimension_values=[self.context.model_name])
        for idx, row in enumerate(data):
            metrics.add_size(name="DigitSize", value=len(row.get("body")) / 1024, idx=idx, unit="kB")
        prepared = ImageClassifier.preprocess(self, data)
        metrics.add_time(
            name="DigitStepTime",
            value=(time.time() - begin) * 1000,
            idx=None,
            unit="ms",
            dimensions=[Dimension(name="Step", value="preprocess")],
            metric_type=MetricTypes.GAUGE,
        )
        return prepared

    def postprocess(self, data):
        metrics = self.context.metrics
        metrics.add_counter(name="DigitAnswers", value=len(data), idx=None, dimensions=[])
        for likelihood in data.exp().amax(1).tolist():
            metrics.add_percent(
                name="DigitCertainty",
                value=100 * likelihood,
                idx=None,
                dimensions=[],
                metric_type=MetricTypes.HISTOGRAM,
            )
        if any(digit == 0 for digit in data.argmax(1).tolist()):
            metrics.add_error(name="DigitZeros", value=1, dimensions=[])
        return data.argmax(1).tolist()
