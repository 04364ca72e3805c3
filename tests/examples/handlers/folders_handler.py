"""A handler with packages in a zip, a folder and a module beside it, which writes into its model's folder."""

import logging
import os
import sys
import threading
import zipfile

import helpers

from ts.context import Context
from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)


class FoldersHandler(BaseHandler):
    def initialize(self, context: Context):
        model_dir = context.system_properties["model_dir"]
        with zipfile.ZipFile(os.path.join(model_dir, "packed.zip")) as packed:
            packed.extractall(model_dir)
        sys.path.append(os.path.join(model_dir, "library"))
        from packed.inner import GREETING
        from shelved import mark

        self.words = [GREETING, mark(helpers.NAME)]
        self.lock = threading.Lock()
        self.device = context.system_properties.get("gpu_id")
        logger.warning("words: %s", self.words)
        print("ready", file=sys.stderr)

    def handle(self, data, context):
        with self.lock, open("asked.txt", "a") as file:
            file.write("x" * len(data))
        with open(os.path.join(context.system_properties["model_dir"], "asked.txt")) as file:
            asked = len(file.read())
        return [{"words": self.words, "asked": asked, "gpu": self.device} for _ in data]
