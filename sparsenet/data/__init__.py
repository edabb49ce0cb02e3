"""Floor 4: data sets. The digits are embedded; MNIST and Fashion-MNIST are read from a folder, or downloaded."""
