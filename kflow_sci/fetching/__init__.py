"""Files from the network: whole and checked, or not there at all."""
