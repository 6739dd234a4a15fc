"""What a language is like: functions of arrays."""
