"""Hugging Face's models, four tasks by one handler in the shape of TorchServe's transformer example."""

import ast
import json
import logging
import os

import torch
import transformers
from captum.attr import LayerIntegratedGradients
from transformers import (
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)
logger.info("Transformers version %s", transformers.__version__)

CLASSES = {
    "sequence_classification": AutoModelForSequenceClassification,
    "token_classification": AutoModelForTokenClassification,
    "question_answering": AutoModelForQuestionAnswering,
    "text_generation": AutoModelForCausalLM,
}


class TransformersHandler(BaseHandler):
    def __init__(self):
        super(TransformersHandler, self).__init__()  # noqa: UP008
        self.setup_config = None
        self.initialized = False

    def initialize(self, ctx):
        self.manifest = ctx.manifest
        self.model_yaml_config = ctx.model_yaml_config if hasattr(ctx, "model_yaml_config") else {}
        properties = ctx.system_properties
        model_dir = properties.get("model_dir")
        path = os.path.join(model_dir, self.manifest["model"]["serializedFile"])
        on_gpu = torch.cuda.is_available() and properties.get("gpu_id") is not None
        self.device = torch.device("cuda:" + str(properties.get("gpu_id")) if on_gpu else "cpu")
        self.setup_config = self.model_yaml_config.get("handler", {})
        self.mode = self.setup_config["mode"]
        if self.setup_config["save_mode"] == "torchscript":
            self.model = torch.jit.load(path, map_location=self.device)
        else:
            self.model = CLASSES[self.mode].from_pretrained(model_dir)
            self.model.to(self.device)
        # The working folder is the model's: the example counts on it.
        if not any(name.startswith("vocab.") and os.path.isfile(name) for name in os.listdir(model_dir)):
            raise RuntimeError("no vocabulary in the working folder")
        self.tokenizer = AutoTokenizer.from_pretrained(
            model_dir, do_lower_case=self.setup_config["do_lower_case"]
        )
        self.model.eval()
        mapping_file = os.path.join(model_dir, "index_to_name.json")
        if os.path.isfile(mapping_file):
            with open(mapping_file) as file:
                self.mapping = json.load(file)
        self.initialized = True

    def preprocess(self, requests):
        ids, masks = [], []
        for data in requests:
            text = data.get("data")
            if text is None:
                text = data.get("body")
            if isinstance(text, (bytes, bytearray)):
                text = text.decode("utf-8")
            texts = (text,)
            if self.mode == "question_answering":
                asked = ast.literal_eval(text)
                texts = (asked["question"], asked["context"])
            elif self.setup_config["captum_explanation"]:
                texts = (ast.literal_eval(text)["text"],)
            logger.info("Received text: '%s'", text)
            inputs = self.tokenizer.encode_plus(
                *texts,
                max_length=int(self.setup_config["max_length"]),
                pad_to_max_length=self.mode != "text_generation",
                add_special_tokens=True,
                return_tensors="pt",
            )
            ids.append(inputs["input_ids"].to(self.device))
            masks.append(inputs["attention_mask"].to(self.device))
        return torch.cat(ids, 0), torch.cat(masks, 0)

    @torch.inference_mode
    def inference(self, input_batch):
        ids, masks = input_batch
        if self.mode == "text_generation":
            made = self.model.generate(ids, max_new_tokens=self.setup_config["max_length"], do_sample=False)
            return [self.tokenizer.decode(one, skip_special_tokens=True) for one in made]
        outputs = self.model(ids, masks)
        print("Output of the model", outputs[0].size())
        if self.mode == "sequence_classification":
            return [self.mapping[str(row.argmax().item())] for row in outputs[0]]
        if self.mode == "question_answering":
            found = zip(ids, outputs.start_logits.argmax(1), outputs.end_logits.argmax(1), strict=True)
            words = [self.tokenizer.convert_ids_to_tokens(row[begin : end + 1]) for row, begin, end in found]
            return [self.tokenizer.convert_tokens_to_string(one) for one in words]
        labels = self.mapping["label_list"].strip("][").split(", ")
        return [
            [
                (token, labels[number])
                for token, number in zip(self.tokenizer.tokenize(self.tokenizer.decode(row)), numbers)  # noqa: B905
            ]
            for row, numbers in zip(ids, outputs[0].argmax(2).tolist(), strict=True)
        ]

    def postprocess(self, inference_output):
        return inference_output

    def get_insights(self, input_batch, text, target):
        embeddings = getattr(self.model, self.setup_config["embedding_name"]).embeddings
        self.lig = LayerIntegratedGradients(captum_forward, embeddings)
        if isinstance(text, (bytes, bytearray)):
            text = text.decode("utf-8")
        asked = ast.literal_eval(text)
        texts = [asked["question"], asked["context"]] if "question" in asked else [asked["text"]]
        self.target = asked["target"]
        ids = torch.tensor([self.tokenizer.encode(*texts)], device=self.device)
        special = torch.tensor(self.tokenizer.all_special_ids, device=self.device)
        baseline = torch.where(torch.isin(ids, special), ids, self.tokenizer.pad_token_id)
        response = {"words": self.tokenizer.convert_ids_to_tokens(ids[0].tolist())}
        outputs = {"importances": 0}
        if self.mode == "question_answering":
            outputs = {"importances_answer_start": 0, "importances_answer_end": 1}
        for name, position in outputs.items():
            attributions, delta = self.lig.attribute(
                inputs=ids,
                baselines=baseline,
                target=self.target,
                additional_forward_args=(torch.ones_like(ids), position, self.model),
                return_convergence_delta=True,
            )
            summed = attributions.sum(dim=-1).squeeze(0)
            response[name] = (summed / torch.norm(summed)).tolist()
            response[name.replace("importances", "delta")] = delta[0].tolist()
        return [response]


def captum_forward(inputs, attention_mask=None, position=0, model=None):
    model.eval()
    model.zero_grad()
    return model(inputs, attention_mask=attention_mask)[position]
