"""The factory: takes orders, builds cars step by step, reports each step."""
