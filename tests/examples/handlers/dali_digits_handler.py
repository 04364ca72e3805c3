"""A handler on DALI's pipelines."""

from ts.torch_handler.dali_handler import DALIHandler


class DigitClassifier(DALIHandler):
    def postprocess(self, data):
        return data.argmax(1).tolist()
