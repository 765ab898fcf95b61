"""Fixtures for every test: a migrated database of one's own, and real brokers."""

from tests.broker_fixtures import amqtt_broker, mosquitto_broker
from tests.pg_fixtures import database, pg_base, pg_cluster, pg_template

__all__ = ["amqtt_broker", "database", "mosquitto_broker", "pg_base", "pg_cluster", "pg_template"]
