"""The interface for notebooks and scripts, described in docs/python.md: a storage root, its runs, tables and models.

What these modules export stays as it is from one release to the next. The rest of `ml` may change.
"""
