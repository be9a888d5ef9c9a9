"""Side-by-side measurements, each a command; see docs/benchmarks.md."""
