"""Beam's --setup_file wants a setup.py; everything is in setup.cfg."""
from setuptools import setup

setup()
