"""What starts and stops workers: one file an engine."""
