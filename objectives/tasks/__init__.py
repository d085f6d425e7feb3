"""What is simulated: one file a task, importing its simulator only inside `make`."""
