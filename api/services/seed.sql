-- name: upsert_model
INSERT INTO config.vehicle_model
    (code, name, engine_type, firmware_version, base_features, base_price_minor)
VALUES (%(code)s, %(name)s, %(engine_type)s, %(firmware_version)s, %(base_features)s,
        %(base_price_minor)s)
ON CONFLICT (code) DO UPDATE SET
    name = excluded.name, engine_type = excluded.engine_type,
    firmware_version = excluded.firmware_version, base_features = excluded.base_features,
    base_price_minor = excluded.base_price_minor, updated_at = now();

-- name: upsert_service
INSERT INTO config.service
    (service_id, code, name, category, description, requires_maintenance, required_blocks,
     safety_critical, min_firmware)
VALUES (%(service_id)s, %(code)s, %(name)s, %(category)s, %(description)s,
        %(requires_maintenance)s, %(required_blocks)s, %(safety_critical)s, %(min_firmware)s)
ON CONFLICT (code) DO UPDATE SET
    name = excluded.name, category = excluded.category, description = excluded.description,
    requires_maintenance = excluded.requires_maintenance,
    required_blocks = excluded.required_blocks, safety_critical = excluded.safety_critical,
    min_firmware = excluded.min_firmware, updated_at = now();

-- name: upsert_price
INSERT INTO config.price (service_code, tier, amount_minor)
VALUES (%(service_code)s, %(tier)s, %(amount_minor)s)
ON CONFLICT (service_code, tier) DO UPDATE SET amount_minor = excluded.amount_minor;

-- name: upsert_mapping
INSERT INTO config.mapping (service_code, platform, settings, safe_state)
VALUES (%(service_code)s, %(platform)s, %(settings)s::jsonb, %(safe_state)s)
ON CONFLICT (service_code, platform) DO UPDATE SET
    settings = excluded.settings, safe_state = excluded.safe_state;

-- name: upsert_capability
INSERT INTO config.capability (model, firmware_version, module, parameter, allowed)
VALUES (%(model)s, %(firmware_version)s, %(module)s, %(parameter)s, %(allowed)s::jsonb)
ON CONFLICT (model, firmware_version, module, parameter) DO UPDATE SET
    allowed = excluded.allowed;
