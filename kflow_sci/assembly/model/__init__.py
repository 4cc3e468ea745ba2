"""The learnt assembler: clusters as tensors, where they start, the network and its path, walking it, judging it."""
