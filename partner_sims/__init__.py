"""The outside world as processes: factory, payment gateway, VSS, authorities, mail sink."""
