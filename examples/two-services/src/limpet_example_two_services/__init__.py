"""Two services that remember: each keeps its data where its environment says, encrypted with a key of its own."""
