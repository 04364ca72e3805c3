"""The handler of a sibling file, for a device that takes batches of one size only."""

from scripted_tokenizer_handler import ScriptedTokenizerHandler


class PaddedHandler(ScriptedTokenizerHandler):
    def initialize(self, context):
        super().initialize(context)
        self.batch_size = context.model_yaml_config["batchSize"]

    def inference(self, data, *args, **kwargs):
        count = len(data)
        padding = self.batch_size - count
        whole = super().inference(data + [""] * padding)
        assert len(whole) == self.batch_size
        return whole[:count]
