"""The local web app of `pecmae explore`: hear, question and edit a model in the browser."""
