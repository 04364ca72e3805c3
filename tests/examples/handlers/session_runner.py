"""Runs an ONNX model by its session's own method, as TorchServe's test of ONNX does."""

import numpy as np

from ts.torch_handler.base_handler import BaseHandler


class SessionRunner(BaseHandler):
    def handle(self, data, context):
        assert hasattr(self.model, "run")
        rows = np.array([[float(row["body"])] for row in data], dtype=np.float32)
        (doubled,) = self.model.run(None, {"modelInput": rows})
        return doubled[:, 0].tolist()
