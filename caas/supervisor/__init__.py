"""Starts, watches and stops the platform's processes, and leaves none behind.

Imports nothing itself: the keeper process loads this package without the libraries.
"""
