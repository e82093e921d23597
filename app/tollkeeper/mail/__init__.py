"""Mail to customers: what it says (`rendering`) and how it leaves the house (`smtp`).

Owns: the words and looks of each notice, and one conversation with one SMTP server per mail.
Does not own: whom to tell, when, how often to try again, and what a refusal means for the customer.
Must always hold: both parts of a mail state the same figures; one mail has one address; a mail the server took is never
reported as failed; no error's text holds an address or a password.
"""
