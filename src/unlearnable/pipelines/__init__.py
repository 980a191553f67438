"""Stages as Kedro pipelines; they meet only in the catalog."""
