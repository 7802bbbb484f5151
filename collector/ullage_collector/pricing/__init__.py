"""The price book and energy: what a card-hour and a kilowatt-hour cost, to the atom, and where every part of it is from."""
