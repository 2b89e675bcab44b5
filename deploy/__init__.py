"""Runs the dataset build on a real Flink cluster: the same settings as processes on loopback and in containers."""
