"""The verbs. They meet only in the ledger: none calls another."""
