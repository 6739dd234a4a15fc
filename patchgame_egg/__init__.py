"""The core: everything that a game of one's own can be built from. See docs/journey.md."""
