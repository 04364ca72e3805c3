"""Which models and versions there are, and how one is put together."""
