"""Who waits, and who goes next: queue, batching policies, dispatch."""
