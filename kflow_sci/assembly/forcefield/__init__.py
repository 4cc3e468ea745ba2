"""Parameters and energies of rigid molecules in crystals and clusters, and the descent that relaxes crystals."""
