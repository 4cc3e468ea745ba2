"""The room for training: a loop that can be killed at any time, its settings, and the folder of a run."""
