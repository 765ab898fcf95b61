"""What the OpenAPI document says beyond the calls' own bodies: errors, and the token's form."""

from typing import Any

from pydantic import BaseModel, Field

Responses = dict[int | str, dict[str, Any]]


class ErrorBody(BaseModel):
    """Of DOMAIN 16."""

    code: str
    message: str
    details: dict[str, Any]
    requestId: str | None  # noqa: N815 - as it is on the wire


class ErrorAnswer(BaseModel):
    error: ErrorBody


class LimitBody(BaseModel):
    """Of DOMAIN 9."""

    code: str
    message: str
    retryAfterSeconds: int  # noqa: N815 - as it is on the wire
    requestId: str | None  # noqa: N815 - as it is on the wire


class LimitAnswer(BaseModel):
    error: LimitBody


class TokenError(BaseModel):
    """Of RFC 6749, 5.2."""

    error: str = Field(examples=["invalid_client"])
    error_description: str


_LIMIT: dict[str, Any] = {
    "model": LimitAnswer,
    "description": "Too many",
    "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
}


def _errors(**descriptions: str) -> Responses:
    return {
        int(status.lstrip("s")): {"model": ErrorAnswer, "description": text}
        for status, text in descriptions.items()
    }


READ: Responses = {
    **_errors(
        s400="Malformed",
        s401="Not proved who calls",
        s403="Not for this token, or not this client's vehicle",
        s404="Unknown",
        s503="The database does not answer; try again",
    ),
    429: _LIMIT,
    "default": {"model": ErrorAnswer, "description": "Any other error"},
}
CONFIGURE: Responses = {
    **READ,
    **_errors(
        s409="The id came with another body, a configuration is under way, or a customer uses it",
        s422="The vehicle or the service cannot do that",
        s503="The broker or the database does not answer; try again with the same id",
    ),
}
TOKEN: Responses = {
    400: {"model": TokenError, "description": "Not a request for a token"},
    401: {"model": TokenError, "description": "Unknown client or wrong secret"},
    429: _LIMIT,
    "default": {"model": ErrorAnswer, "description": "Any other error"},
}
TOKEN_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"type": "string", "const": "client_credentials"},
                        "scope": {"type": "string", "description": "configure, read, or both"},
                        "client_id": {"type": "string"},
                        "client_secret": {"type": "string"},
                    },
                }
            }
        },
    }
}
