"""Scores of clusters: the published protocol, packing, and similarity, from arrays alone."""
