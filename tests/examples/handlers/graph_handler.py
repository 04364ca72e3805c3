"""Classes of a graph's nodes: graphs of a batch become one graph of several parts and are cut apart again."""

import torch

from ts.torch_handler.base_handler import BaseHandler


class GraphHandler(BaseHandler):
    def preprocess(self, data):
        nodes, edges, self.sizes = [], [], []
        for row in data:
            graph = row.get("data") or row.get("body")
            shift = sum(self.sizes)
            nodes.append(torch.tensor(graph["nodes"]))
            edges.append(torch.tensor(graph["edges"]).T.long() + shift)
            self.sizes.append(len(graph["nodes"]))
        return torch.cat(nodes), torch.cat(edges, 1)

    def inference(self, data, *args, **kwargs):
        with torch.no_grad():
            return self.model(*data)

    def postprocess(self, scores):
        return [
            [self.mapping[str(one)] for one in part.argmax(1).tolist()] for part in scores.split(self.sizes)
        ]
