"""Vision transformers for Figure 4: opened, trained, and what is distilled from PatchRank."""
