"""Floor 4: data sets. The digits are embedded; the others are read from a folder, or downloaded."""
