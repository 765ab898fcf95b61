"""The vehicle's own sale, from the saved order to the linked app (DOMAIN 10)."""
