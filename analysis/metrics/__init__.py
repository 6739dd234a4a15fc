"""Metrics: functions of arrays, one family a file. Promised names come from `analysis` itself."""
