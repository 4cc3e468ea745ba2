"""Assembly of rigid molecules: crystals and molecules in, clusters out, and what they are worth.

The one idea: a cluster is templates plus poses; everything in this room reads or makes such values.
"""

DEFAULT_COPIES = 17  # molecules of a cluster in the published benchmark; any number works everywhere
