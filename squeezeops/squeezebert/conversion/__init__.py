"""Conversion: writes converted models and measures what their dtype costs."""
