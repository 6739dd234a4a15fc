"""Vision transformers that see only some patches, in an order that a ranking gives (Figure 4)."""
