"""Finds the documents nearest to a question, and writes the prompt for a language model."""

import torch
from context_embeddings import Embeddings

from ts.torch_handler.base_handler import BaseHandler


class ContextFinder(BaseHandler):
    def __init__(self):
        super(ContextFinder, self).__init__()  # noqa: UP008
        self.initialized = False
        self.N = 2

    @torch.inference_mode
    def initialize(self, ctx):
        section = ctx.model_yaml_config["handler"]
        self.documents = section["documents"]
        self.embeddings = Embeddings(model_path=section["model_path"])
        self.index = self.embeddings.embed_documents(self.documents)

    def preprocess(self, requests):
        assert len(requests) == 1, "Expecting batch_size = 1"
        text = requests[0].get("data") or requests[0].get("body")
        return text.decode("utf-8") if isinstance(text, (bytes, bytearray)) else text

    @torch.inference_mode
    def inference(self, data, *args, **kwargs):
        distances = torch.cdist(self.embeddings.embed_documents([data]), self.index)[0]
        return [self.documents[number] for number in distances.argsort()[: self.N]], data

    def postprocess(self, data):
        found, question = data
        return ["\n".join([*found, f"Question: {question}", "Answer:"])]
