"""Whole clusters out to the formats of other programs, and in again: each format's writer and reader in one file."""
