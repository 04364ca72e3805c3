"""A handler without a model that does what it is told: sleeps, fails, counts; else what comes in goes out.

It may also be told by a file beside the server's temporary ones, while it is loaded.
"""

import os
import time

answered = 0


def load():
    """`at-load` in the temporary folder: `sleep SECONDS`, or anything else for a failure."""
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), "at-load")
    if os.path.exists(path):
        with open(path) as file:
            what, _, rest = file.read().partition(" ")
        if what != "sleep":
            raise RuntimeError("it is not to be loaded")
        time.sleep(float(rest))


def handle(data, context):
    """`sleep SECONDS ...`, `bad`, `count` (requests this process has answered), or `hold`: sleeps while
    there is a file of that name beside the server's temporary ones.
    """
    global answered
    if data is None:
        return load()
    answers = []
    for row in data:
        text = bytes(row.get("data") or row.get("body")).decode()
        what, _, rest = text.partition(" ")
        if what == "bad":
            raise ValueError("a bad request")
        if what == "sleep":
            time.sleep(float(rest.split()[0]))
        while what == "hold" and os.path.exists(os.path.join(os.environ.get("TMPDIR", "/tmp"), "hold")):
            time.sleep(0.005)
        answers.append(str(answered) if what == "count" else text)
        answered += 1
    return answers
