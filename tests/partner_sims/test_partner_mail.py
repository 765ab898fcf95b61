"""The mail sink: what was sent is there to be read, and harmless to read."""

import smtplib
from email.message import EmailMessage
from typing import Any

import pytest

from tests.partner_sims.harness import Partners


def send(partners: Partners, **headers: str) -> None:
    mail = EmailMessage()
    mail["From"] = "caas@example.test"
    mail["To"] = headers.get("to", "ana@example.test")
    mail["Subject"] = headers.get("subject", "Tu coche está aquí €")
    mail.set_content(headers.get("text", "Hola, Ana.\n"))
    mail.add_alternative(headers.get("html", "<p>Hola, <b>Ana</b>.</p>"), subtype="html")
    mail.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="factura.pdf")
    with smtplib.SMTP("127.0.0.1", partners.smtp_port, timeout=10) as smtp:
        smtp.send_message(mail)


def inbox(partners: Partners, **params: str) -> list[dict[str, Any]]:
    return partners.http.get("/mail/messages", params=params).json()["messages"]


def test_mail_is_kept_and_found(shared: Partners) -> None:
    send(shared)
    send(shared, to="otto@example.test", subject="Rechnung")
    found = inbox(shared, to="ANA@", subject="coche")
    assert len(found) == 1
    message = found[0]
    assert message["to"] == ["ana@example.test"]
    assert message["from"] == "caas@example.test"
    assert message["subject"] == "Tu coche está aquí €"
    assert message["text"].strip() == "Hola, Ana."
    assert "<b>Ana</b>" in message["html"]
    assert message["channel"] == "email"
    assert message["attachments"] == [
        {"name": "factura.pdf", "content_type": "application/pdf", "bytes": 8}
    ]
    assert shared.http.get(f"/mail/messages/{message['id']}").json() == message
    attachment = shared.http.get(f"/mail/messages/{message['id']}/attachments/0")
    assert attachment.content == b"%PDF-1.7"
    assert shared.http.get(f"/mail/messages/{message['id']}/attachments/1").status_code == 404
    assert inbox(shared)[0]["subject"] == "Rechnung"


def test_mail_can_be_thrown_away(shared: Partners) -> None:
    for subject in ("one", "two", "three"):
        send(shared, subject=subject)
    newest = inbox(shared)[0]["id"]
    assert shared.http.delete(f"/mail/messages/{newest}").json() == {"deleted": 1}
    assert shared.http.delete(f"/mail/messages/{newest}").status_code == 404
    assert shared.http.delete("/mail/messages").json() == {"deleted": 2}
    assert inbox(shared) == []


def test_push_and_sms_are_listed_alike(shared: Partners) -> None:
    push = {"to": "device-1", "title": "Activated", "text": "Power +50 %", "data": {"a": 1}}
    assert shared.http.post("/mail/push", json=push).status_code == 201
    sms = {"to": "+34600000000", "text": "Your car has arrived"}
    assert shared.http.post("/mail/sms", json=sms).status_code == 201
    assert shared.http.post("/mail/sms", json={"text": "to nobody"}).status_code == 400
    found = inbox(shared, channel="push")
    assert [(note["to"], note["subject"], note["text"]) for note in found] == [
        (["device-1"], "Activated", "Power +50 %")
    ]
    assert inbox(shared, to="+346")[0]["channel"] == "sms"


def test_the_page_runs_nothing_a_mail_brings(shared: Partners) -> None:
    evil = "<script>alert(1)</script>"
    send(shared, subject=evil, text=evil, html=evil)
    page = shared.http.get("/mail/", params={"subject": "script"})
    assert page.headers["content-type"].startswith("text/html")
    assert "&lt;script&gt;" in page.text
    assert evil not in page.text
    assert "sandbox" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("mode", "code", "kept"),
    [("down", 421, 0), ("error", 451, 0), ("decline", 550, 0), ("lost", 451, 1)],
)
def test_smtp_faults(shared: Partners, mode: str, code: int, kept: int) -> None:
    shared.fault("mail", mode, count=1)
    with pytest.raises(smtplib.SMTPDataError) as refused:
        send(shared)
    assert refused.value.smtp_code == code
    assert len(inbox(shared)) == kept
    send(shared)
    assert len(inbox(shared)) == kept + 1
