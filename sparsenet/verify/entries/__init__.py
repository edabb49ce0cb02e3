"""All entries: one formula each, a module for each kind."""

from . import criteria_article, losses

ENTRIES = (*losses.ENTRIES, *criteria_article.ENTRIES)
