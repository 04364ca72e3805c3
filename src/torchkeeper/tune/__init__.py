"""`torchkeeper tune`: the fastest set-up of a model on this machine that answers as eager float32 does."""
