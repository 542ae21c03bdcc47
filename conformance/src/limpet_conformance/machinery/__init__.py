"""What the sections use: a model, a search for a serial order, other processes, kills, a list of awkward batches."""
