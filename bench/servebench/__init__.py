"""The benchmark's own package: TorchServe and torchkeeper side by side on the same archives."""
