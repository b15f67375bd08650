"""Benchmarks, one subject a module: they print ratios against a peer run beside them."""
