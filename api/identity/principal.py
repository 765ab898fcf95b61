"""Who a caller is, once known."""

from dataclasses import dataclass
from uuid import UUID

from core.contracts.states import Role


@dataclass(frozen=True, slots=True)
class Principal:
    """A customer (``customer_id``) or an employee (``employee_id``, and for SALES a dealership)."""

    user_id: UUID
    role: Role
    customer_id: UUID | None = None
    dealership_id: UUID | None = None
    employee_id: UUID | None = None

    @property
    def customer(self) -> UUID:
        """The customer's id; only routes that require CUSTOMER ask for it."""
        assert self.customer_id is not None
        return self.customer_id

    @property
    def dealership(self) -> UUID:
        """The dealership's id; only routes that require SALES ask for it."""
        assert self.dealership_id is not None
        return self.dealership_id

    @property
    def employee(self) -> UUID:
        """The employee's id; only staff routes ask for it."""
        assert self.employee_id is not None
        return self.employee_id

    @property
    def actor(self) -> str:
        """How histories name this caller."""
        return f"{self.role.value.lower()}:{self.user_id}"
