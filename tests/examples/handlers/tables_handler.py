"""A forecast for the next step of time series, which come as CSV, JSON of several forms, or NPY."""

import base64
import csv
import io
import json

import numpy as np
import torch

from ts.torch_handler.base_handler import BaseHandler


class TablesHandler(BaseHandler):
    def preprocess(self, data):
        self.counts, series = [], []
        for request in data:
            rows = self.read(request.get("data") or request.get("body"))
            self.counts.append(len(rows))
            series.append(torch.as_tensor(rows, dtype=torch.float32, device=self.device))
        return torch.cat(series)

    def read(self, body):
        if isinstance(body, (bytes, bytearray)):
            if bytes(body[:6]) == b"\x93NUMPY":
                return np.load(io.BytesIO(body))
            body = bytes(body).decode()
        if isinstance(body, str):
            if body.lstrip()[:1] not in ("[", "{"):
                return [[float(value) for value in row] for row in csv.reader(io.StringIO(body))]
            body = json.loads(body)
        if isinstance(body, dict) and "columns" in body:
            order = [body["columns"].index(f"t{step}") for step in range(3)]
            return [[row[place] for place in order] for row in body["data"]]
        if isinstance(body, dict) and "npy" in body:
            return np.load(io.BytesIO(base64.b64decode(body["npy"])))
        if isinstance(body, dict):
            return [list(series.values()) for series in body["series"]]
        return body

    def postprocess(self, forecasts):
        parts = forecasts.flatten().split(self.counts)
        return [part.tolist() for part in parts]
