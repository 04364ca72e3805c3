"""gRPC on the server's event loop: TorchServe's services, the Open Inference Protocol, health, reflection."""
