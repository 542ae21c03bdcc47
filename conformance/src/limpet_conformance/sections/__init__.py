"""One module for each clause of the driver contract, in the clause's own order."""
