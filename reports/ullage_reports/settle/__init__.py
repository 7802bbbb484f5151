"""A small world in one file, priced with no store behind it: for what-if questions, and to be checked by hand.

    world    what the file says             fields   reading it, with errors that name the place
    shares   who holds what of a card       activity used, idle or not known
    charges  who pays, instant by instant   pool     free cards and lent cards shared out
    energy   kilowatt hours                 closing  closed periods and corrections
    lines    exact amounts to printed ones  division a total shared out, with no cards at all

Exact rationals throughout; money is rounded once, in ``lines``. docs/settle.md is the page for people.
"""
