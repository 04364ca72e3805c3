"""The child process: it loads a model and calls its handler, batch after batch."""
