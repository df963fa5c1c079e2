"""What `benchmarks/run.py` and `benchmarks/sampling.py` measure, and what they compare it with."""
