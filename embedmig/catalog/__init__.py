"""The control tables: read and written here and nowhere else, one file per concern, its SQL beside it."""
