"""In the style of MXNet Model Server's templates: a service of the module, initialised when first asked."""

import logging


class ModelHandler:
    def __init__(self):
        self.error = None
        self._context = None
        self._batch_size = 0
        self.initialized = False

    def initialize(self, context):
        self._context = context
        self._batch_size = context._system_properties["batch_size"]
        self.initialized = True

    def preprocess(self, batch):
        assert self._batch_size >= len(batch), f"Invalid input batch size: {len(batch)}"
        return [bytes(row.get("data") or row.get("body")).decode() for row in batch]

    def handle(self, data, context):
        try:
            return [text.upper() for text in self.preprocess(data)]
        except Exception as error:
            logging.error(error, exc_info=True)
            processor = context._request_processor
            processor[0].report_status(500, "Unknown inference error")
            return [str(error)] * len(data)


_service = ModelHandler()


def handle(data, context):
    if not _service.initialized:
        _service.initialize(context)
    if data is None:
        return None
    return _service.handle(data, context)
