"""The registration authorities: a plate for a car, by country."""
