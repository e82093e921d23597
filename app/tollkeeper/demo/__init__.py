"""The whole path on one machine, with real parts: what `tollkeeper demo` runs and checks."""
