"""Pytest fixtures for tests of actors."""
