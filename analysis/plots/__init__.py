"""Figures of runs and languages."""
