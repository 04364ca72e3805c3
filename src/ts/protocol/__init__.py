"""TorchServe's old place of response streaming."""
