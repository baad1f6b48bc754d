"""Curation: pack, index, inspect and audit the data that runs train on."""
