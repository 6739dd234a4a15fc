"""Options: what there is, which go together, how they are read and kept."""
