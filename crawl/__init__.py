"""Which images and texts did the web show together?  Seeds in, image bytes and candidate rows out."""
