"""The fault bench: one function a row, against a real Postgres and real processes."""
