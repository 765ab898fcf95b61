"""The maintenance gate: what is overdue, unknown or irrelevant (DOMAIN 5)."""

from dataclasses import replace

import pytest

from api.services.gate import Block, GateDecision, MaintenanceStatus, decide

URL = "https://workshops.example"
ENGINE = Block("ENGINE", current=True, compliance=100.0)
GEARBOX = Block("TRANSMISSION", current=True, compliance=100.0)
GOOD = MaintenanceStatus(True, (ENGINE, GEARBOX))


def gate(status: MaintenanceStatus, *, minimum: int = 100) -> GateDecision:
    return decide(("ENGINE", "TRANSMISSION"), minimum, status, URL)


def test_maintained_and_under_warranty_is_allowed():
    assert gate(GOOD).allowed


@pytest.mark.parametrize("warranty", [False, None])
def test_no_warranty_or_an_unknown_one_denies_every_gated_option(warranty):
    decision = gate(replace(GOOD, warranty_active=warranty))
    assert not decision.allowed
    assert decision.reason == "WARRANTY_INACTIVE"


@pytest.mark.parametrize(
    "flaw",
    [
        {"current": False},
        {"current": None},
        {"compliance": 99.9},
        {"compliance": None},
        {"overdue": True},
    ],
)
def test_a_required_block_must_pass_in_every_respect(flaw):
    decision = gate(MaintenanceStatus(True, (replace(ENGINE, **flaw), GEARBOX)))
    assert not decision.allowed
    assert decision.reason == "MAINTENANCE_OVERDUE"
    assert [block["block"] for block in decision.details["blocks"]] == ["ENGINE"]


def test_a_required_block_the_vss_does_not_name_denies():
    decision = gate(MaintenanceStatus(True, (ENGINE,)))
    assert [block["block"] for block in decision.details["blocks"]] == ["TRANSMISSION"]


def test_an_unrelated_overdue_block_does_not_matter():
    tyres = Block("TYRES", current=False, compliance=0.0, overdue=True)
    assert gate(MaintenanceStatus(True, (ENGINE, GEARBOX, tyres))).allowed


def test_the_service_may_ask_for_less_compliance():
    status = MaintenanceStatus(True, (replace(ENGINE, compliance=90.0), GEARBOX))
    assert gate(status, minimum=90).allowed
    assert not gate(status, minimum=91).allowed


def test_a_block_said_twice_counts_at_its_worst():
    status = MaintenanceStatus(True, (ENGINE, replace(ENGINE, current=False), GEARBOX))
    assert not gate(status).allowed


def test_workshops_names_are_understood():
    status = MaintenanceStatus(True, (replace(ENGINE, block_id="motor"), GEARBOX))
    assert gate(status).allowed


def test_a_denial_tells_what_is_overdue_by_how_much_and_where_to_go():
    late = replace(
        ENGINE,
        current=False,
        compliance=50.0,
        overdue=True,
        overdue_km=1200,
        overdue_days=40,
        due_date="2026-10-01",
    )
    later = replace(GEARBOX, current=False, overdue_km=300, overdue_days=45, due_date="2026-10-09")
    details = gate(MaintenanceStatus(True, (late, later))).details
    assert details["overdue_km"] == 1200
    assert details["overdue_days"] == 45
    assert details["due_date"] == "2026-10-01"
    assert details["workshop_url"] == URL
    assert details["blocks"][0] == {
        "block": "ENGINE",
        "compliance": 50.0,
        "overdue_km": 1200,
        "overdue_days": 40,
        "due_date": "2026-10-01",
    }
