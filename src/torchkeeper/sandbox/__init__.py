"""What a worker may do beyond computing: decided in the front, applied in the worker before a model."""
