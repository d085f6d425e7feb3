"""What the benchmarks of the sampler share: landscapes, and workers that exist in time only."""
