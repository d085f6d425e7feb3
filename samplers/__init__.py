"""What is searched and how: search spaces and the sampler that draws from them."""
