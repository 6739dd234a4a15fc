"""What frozen features are worth: k-NN and a linear probe."""
