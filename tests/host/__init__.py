"""Tests of the host process."""
