"""What a language means in words: a dictionary, its worth on images that it was not made from, glosses of messages."""
