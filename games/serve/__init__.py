"""A trained run as a local page: drop an image, see what is said of it and which images the listener picks."""
