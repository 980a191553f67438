"""Bytes to arrays and back: versioned, atomic, checked."""
