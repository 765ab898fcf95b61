"""The shop's fixtures for this noun."""

from tests.api.shop import api_port, shop, shop_partners

__all__ = ["api_port", "shop", "shop_partners"]
