"""Reading a stream without Lambda: shards, parents before children, positions."""
