"""The IoT API served: commands and status of vehicles for other systems (DOMAIN 9)."""
