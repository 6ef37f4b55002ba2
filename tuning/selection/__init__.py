"""After the searches: confirm what they have chosen, look at the test split once, train the model to keep."""
