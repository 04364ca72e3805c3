"""Import names kept for code written for TorchServe."""
