"""Every figure the README quotes, each with one command; results are committed under benchmarks/results/."""
