"""What one run does: tasks, agents, the budget's clock and the ledger of where time went."""
