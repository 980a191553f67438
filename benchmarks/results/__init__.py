"""Results as data: what is committed, how it is checked, and the pages that are written from it."""
