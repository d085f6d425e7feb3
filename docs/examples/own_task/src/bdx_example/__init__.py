"""A task and an objective of one's own for hpsearch."""
