"""gRPC on the server's event loop: TorchServe's services, the Open Inference Protocol, health, reflection."""

import os

# gRPC's handlers of forks start its threads anew in the child, where they fault now and then before it has
# become another program. The front forks for that alone. gRPC reads this when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
