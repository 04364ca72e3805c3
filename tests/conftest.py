"""What holds for all tests: timings decide none, so that a slow machine is no failure of a property test."""

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
