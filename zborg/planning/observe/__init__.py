"""Figures, forecasts and findings for status and reports. Pure."""

__all__ = ["damage", "figures", "forecast", "health", "nights"]
