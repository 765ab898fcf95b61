"""Bodies of the login routes."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

from core.contracts.states import Role


def _encodable(secret: SecretStr) -> SecretStr:
    """JSON can spell half a surrogate pair, which is no text."""
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise ValueError("not a valid text") from None
    return secret


Password = Annotated[SecretStr, Field(max_length=200), AfterValidator(_encodable)]
NewPassword = Annotated[Password, Field(min_length=10)]


class CamelModel(BaseModel):
    """Base of the API's bodies: camelCase outside, unknown members refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class LoginIn(CamelModel):
    username: str = Field(min_length=1, max_length=320)
    password: Password = Field(min_length=1)


class RefreshIn(CamelModel):
    refresh_token: str = Field(min_length=1, max_length=200)


class ActivateIn(CamelModel):
    token: str = Field(min_length=1, max_length=200)
    new_password: NewPassword | None = None


class TokensOut(CamelModel):
    access_token: str
    refresh_token: str
    token_type: str = "Bearer"  # noqa: S105 - the name of a scheme, not a secret
    expires_in: int
    role: Role


class ActivatedOut(CamelModel):
    activated: bool = True
