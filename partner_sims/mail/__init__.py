"""The mail sink: an SMTP server and inbox, and the same for push and SMS."""
