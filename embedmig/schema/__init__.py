"""DDL of slots: what is there, what a target will be, columns and companions, checks, triggers, indexes."""
