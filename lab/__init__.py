"""A real PostgreSQL fleet on this machine, for the demo, the tests and the benchmarks."""
