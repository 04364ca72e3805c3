"""The hatch between the front process and the workers."""
