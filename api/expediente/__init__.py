"""The purchase file (expediente de compra): all there is of a customer, in one place."""
