"""Certificates of caches that answer by https."""
