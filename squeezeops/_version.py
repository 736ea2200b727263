"""The version, kept where setup.py, the package and the build can all read it."""

__version__ = "0.2.0"
