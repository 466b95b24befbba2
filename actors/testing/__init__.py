"""Tools for tests of actors."""
