"""How does it learn, and how do we know?  Shards in, checkpoints and recall out."""
