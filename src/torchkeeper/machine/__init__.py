"""The machine underneath: its cores and GPUs, process groups, threads."""
