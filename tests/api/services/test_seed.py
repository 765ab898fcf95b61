"""The seed catalogue is DOMAIN 4's table, and seeding twice changes nothing."""

from api.services.seed import seed_catalogue
from tests.api.shop import Shop


async def test_the_price_table(shop: Shop):
    rows = await shop.rows(
        "SELECT service_code, array_agg(amount_minor / 100 ORDER BY amount_minor) AS euros"
        " FROM config.price GROUP BY service_code"
    )
    assert {row["service_code"]: list(map(int, row["euros"])) for row in rows} == {
        "PERF_BOOST_50": [15, 60, 180, 200, 450, 1500],
        "HIGHWAY_AUTOPILOT": [20, 80, 240, 260, 600, 2000],
        "ADVANCED_CLIMATE": [5, 20, 60, 70, 150, 500],
        "OFF_ROAD": [10, 40, 120, 130, 300, 800],
        "PREMIUM_ENTERTAINMENT": [8, 30, 90, 100, 225, 600],
    }


async def test_platforms_and_what_their_firmware_knows(shop: Shop):
    rows = await shop.rows("SELECT platform, count(*) AS services FROM config.mapping GROUP BY 1")
    assert {row["platform"]: row["services"] for row in rows} == {
        "AURORA": 5, "BOREAL": 5, "CIERZO": 4
    }  # fmt: skip
    rows = await shop.rows(
        "SELECT firmware_version, bool_or(module = 'ADAS') AS adas FROM config.capability"
        " WHERE model = 'BOREAL' GROUP BY 1"
    )
    assert {row["firmware_version"]: row["adas"] for row in rows} == {"2.2.0": False, "2.3.0": True}


async def test_every_mapped_value_is_one_the_firmware_takes(shop: Shop):
    missing = await shop.rows(
        "SELECT m.service_code, m.platform FROM config.mapping m"
        " JOIN config.vehicle_model v ON v.code = m.platform"
        " JOIN config.service s ON s.code = m.service_code,"
        " jsonb_array_elements(m.settings) AS item"
        " WHERE s.min_firmware IS NULL AND NOT EXISTS ("
        "  SELECT FROM config.capability c WHERE c.model = m.platform"
        "  AND c.firmware_version = v.firmware_version AND c.module = item ->> 'module'"
        "  AND c.parameter = item ->> 'parameter'"
        "  AND c.allowed @> (item -> 'on_value') AND c.allowed @> (item -> 'off_value'))"
    )
    assert missing == []


async def test_seeding_again_keeps_identities(shop: Shop):
    before = await shop.rows("SELECT code, service_id FROM config.service ORDER BY code")
    async with shop.deps.database.transaction() as conn:
        await seed_catalogue(conn)
    assert await shop.rows("SELECT code, service_id FROM config.service ORDER BY code") == before
