"""Why nothing is tuned, in one sentence."""


class TuneRefused(Exception):
    """What was asked for cannot be tuned; the message says why, and what to do."""
