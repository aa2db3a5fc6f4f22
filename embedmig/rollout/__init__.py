"""The ramp, its gates, the switch and the way back."""
