"""Small drivers that the suite is tried on: one that shares memory, one that shares a file, one on a borrowed client."""
