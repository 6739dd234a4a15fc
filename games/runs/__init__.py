"""A run: its folder and the files in it, its lock, its training, its language, its pictures."""
