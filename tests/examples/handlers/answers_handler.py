"""What a handler may answer with: statuses, headers and types of its own, errors, values of all kinds."""

from ts.utils.util import PredictionException


class AnswersHandler:
    def initialize(self, context):
        self._context = context
        self.initialized = True

    def describe_handle(self):
        return {"kinds": "all", "data1": "1"}

    def handle(self, data, context):
        if self._context.get_request_header(0, "describe") == "True":
            return [self.describe_handle()]
        return [self.answer(place, row, context) for place, row in enumerate(data)]

    def answer(self, place, row, context):
        text = bytes(row["body"]).decode()
        if text == "teapot":
            raise PredictionException("I brew tea", 418)
        if text == "memory":
            raise MemoryError("too many pictures")
        if text == "wrong":
            context.set_response_status(code=400, phrase="Wrong Row", idx=place)
            return {"error": "wrong"}
        if text == "csv":
            context.set_response_content_type(place, "text/csv")
            context.set_response_header(place, "X-Place", str(context.get_request_header(place, "X-Place")))
            return "a,b\n1,2\n"
        if text == "id":
            return context.get_request_id(place)
        if text == "path":
            return context.get_request_header(place, "url_path").split("/")
        return {"none": None, "number": 1.5, "bytes": b"\x00\xff", "text": "\u00e9"}[text]
