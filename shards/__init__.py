"""How are samples stored and read back?  Best pairs in, WebDataset shards out."""
