"""What generated images are worth, as a set: distances between features of samples and of reference images."""
