"""A task, a search space and an objective of one's own for hpsearch."""
