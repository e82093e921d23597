"""A customer's whole life at Stripe in a minute, on test clocks: in a sandbox of yours, or against the stand-in.

Owns: the life that is lived, and the table of our figures beside Stripe's.
Does not own: any database but one that it starts itself, and nothing at Stripe but what carries `rehearsal` in its name.
Must always hold: no live key is ever used, and our side runs the very services that production runs.
"""
