"""Telling machines and rooms: Slack, and webhooks out.

Owns: one bounded POST to an address that somebody else named (`post`), what a notice says in a sentence (`sentences`), and
the two ways of putting it (`slack`, `webhook`).
Does not own: whom to tell, when, and how often to try again.
Must always hold: no POST reaches an address inside our own network; none lasts longer than its time, whatever the other side
does; no redirect is followed; no error's text holds a URL, because the URL may be the secret.
"""
