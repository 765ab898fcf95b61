"""The few pages the API serves itself: where it begins, and the link of the credentials e-mail."""
