"""The benchmark: every method under one budget, on one test set, in one table. Nothing but ``cli`` imports it."""
