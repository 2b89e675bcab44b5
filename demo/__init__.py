"""A synthetic web with known truth: the demo's input, the tests' input, the benchmarks' load, the yardstick."""
