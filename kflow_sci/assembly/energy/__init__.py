"""What happens between the molecules of a finite cluster: the pair energy, and relaxing what overlaps."""
