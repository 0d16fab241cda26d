"""Datasets, snapshots, pools and grants."""
