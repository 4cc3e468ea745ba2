"""Scores of clusters from arrays alone: overlay, packing, contacts, what stays rigid, and the published protocol."""
