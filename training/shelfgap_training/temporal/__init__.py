"""How soon and how rightly alerts come: a monitor replayed over shelf-days whose truth is known."""
