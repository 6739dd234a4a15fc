"""What several metrics compute: entropies, what occurs together, distances and ranks of all pairs."""
