"""Numbers with intervals.

Modules import libraries of statistics in the functions that compute with them, because records are also read where
nothing is computed, as in the promotion's decisions, and loading the libraries takes seconds.
"""
