"""Which pairs are worth learning from?  Candidates and images in, one best pair an image out."""
