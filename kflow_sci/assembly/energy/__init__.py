"""What happens between molecules: bond orders and parameters, the pair energy, and relaxing what overlaps."""
