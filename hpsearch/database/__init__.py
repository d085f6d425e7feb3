"""The database: how to reach it, the private server, the tables."""
