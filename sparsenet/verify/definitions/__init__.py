"""Definitions that users and tests share: plain loops and differences, as slow and as near to the paper as can be."""
