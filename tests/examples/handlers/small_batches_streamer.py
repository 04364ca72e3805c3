"""Streams generated texts: a batch goes in small ones, and each row's pieces go to its own client."""

import pathlib
from threading import Thread

from transformers import AutoTokenizer

from ts.context import Context
from ts.handler_utils.hf_batch_streamer import TextIteratorStreamerBatch
from ts.handler_utils.micro_batching import MicroBatching
from ts.handler_utils.utils import import_class, send_intermediate_predict_response
from ts.torch_handler.base_handler import BaseHandler


class SmallBatchesStreamer(BaseHandler):
    def __init__(self):
        super().__init__()
        self.tokenizer = None
        self.output_streamer = None
        self.handle = MicroBatching(self)

    def initialize(self, ctx: Context):
        ctx.cache = {}
        section = ctx.model_yaml_config.get("handler", {})
        small = ctx.model_yaml_config.get("micro_batching", {})
        if small.get("parallelism"):
            self.handle.parallelism = small["parallelism"]
        self.handle.micro_batch_size = small.get("micro_batch_size", 1)
        path = pathlib.Path(ctx.system_properties.get("model_dir")).joinpath(section["model_path"])
        self.max_new_tokens = int(section["max_new_tokens"])
        self.tokenizer = AutoTokenizer.from_pretrained(path, return_tensors="pt", padding_side="left")
        kind = import_class(
            class_name=section["model_class_name"], module_prefix=section.get("model_module_prefix")
        )
        self.model = kind.from_pretrained(path).eval()
        self.output_streamer = TextIteratorStreamerBatch(
            self.tokenizer, batch_size=self.handle.micro_batch_size, skip_special_tokens=True
        )
        self.initialized = True

    def preprocess(self, requests):
        prompts = []
        for request in requests:
            data = request.get("data") or request.get("body")
            prompts.append(data.get("prompt"))
        prompts.extend([""] * (self.handle.micro_batch_size - len(prompts)))
        return self.tokenizer(prompts, return_tensors="pt", padding=True)

    def inference(self, inputs):
        options = dict(
            inputs, streamer=self.output_streamer, max_new_tokens=self.max_new_tokens, do_sample=False
        )
        thread = Thread(target=self.model.generate, kwargs=options)
        thread.start()
        ids = self.own_ids(self.handle.get_micro_batch_idx())
        for pieces in self.output_streamer:
            send_intermediate_predict_response(
                pieces[: len(ids)], ids, "Intermediate Prediction success", 200, self.context
            )
        thread.join()
        return [""] * len(ids)

    def postprocess(self, inference_output):
        return inference_output

    def own_ids(self, number):
        size = self.handle.micro_batch_size
        return {
            row: self.context.request_ids[place]
            for row, place in enumerate(range(number * size, (number + 1) * size))
            if place in self.context.request_ids
        }
