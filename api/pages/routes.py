"""GET / and /activate with their script and style: static files, nothing of a request in them."""

from importlib.resources import files

from fastapi import APIRouter, Response

router = APIRouter(include_in_schema=False)

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # The activation link holds a token: neither caches nor other sites get to see it.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


def _file(name: str, media_type: str) -> Response:
    text = files("api.pages").joinpath("static", name).read_text(encoding="utf-8")
    return Response(text, media_type=media_type, headers=_HEADERS)


@router.get("/")
def index() -> Response:
    """Where to go from here."""
    return _file("index.html", "text/html")


@router.get("/activate")
def activate() -> Response:
    """The form for a new password that the credentials e-mail links to."""
    return _file("activate.html", "text/html")


@router.get("/pages/activate.js")
def activate_script() -> Response:
    """What the form does."""
    return _file("activate.js", "text/javascript")


@router.get("/pages/style.css")
def style() -> Response:
    """How both pages look."""
    return _file("style.css", "text/css")
