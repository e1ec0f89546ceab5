"""Published tables, one a file; base/tables.py is what they share, published.py their figures."""
