"""One script a published figure; each prints one JSON line."""
