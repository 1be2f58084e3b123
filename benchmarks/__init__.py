"""Benchmarks: one file per workload, contenders side by side. See README.md."""
