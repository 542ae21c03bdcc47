"""One module for each clause of the driver contract."""
