"""Velocity networks: tensors in, tensors out.

The one idea: a network knows nothing of the path it is trained on; it only obeys the symmetries of its data.
"""
