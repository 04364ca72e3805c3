"""Sends three parts before its answer, by the old name of the function that sends them."""

from ts.protocol.otf_message_handler import send_intermediate_predict_response


def handle(data, context):
    if type(data) is list:
        for part in range(3):
            send_intermediate_predict_response(
                [f"part {part}, "] * len(data), context.request_ids, "Intermediate", 200, context
            )
        return ["the end"] * len(data)
    return None
