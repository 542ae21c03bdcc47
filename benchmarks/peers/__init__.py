"""Who is measured: each peer as shipped, behind the same few functions."""
