"""A handler without a model that does what it is told: sleeps, fails, counts; else what comes in goes out."""

import time

answered = 0


def handle(data, context):
    """`sleep SECONDS ...`, `bad`, or `count`: how many requests this process has answered."""
    global answered
    if data is None:
        return None
    answers = []
    for row in data:
        text = bytes(row.get("data") or row.get("body")).decode()
        what, _, rest = text.partition(" ")
        if what == "bad":
            raise ValueError("a bad request")
        if what == "sleep":
            time.sleep(float(rest.split()[0]))
        answers.append(str(answered) if what == "count" else text)
        answered += 1
    return answers
