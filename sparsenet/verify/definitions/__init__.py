"""Slow, independent definitions, the oracles: plain loops, central differences, brute force, in ordinary NumPy.

Nothing here imports the package: a definition that called what it checks would prove nothing.
"""
