"""After the searches: confirm what they have chosen, evaluate it on test once, train the model to keep."""
