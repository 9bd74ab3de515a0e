"""What is searched: a line each."""

SENTENCES = [
    "The cat sleeps on the warm windowsill.",
    "A puppy chases its own tail in the garden.",
    "Shares fell sharply after the central bank raised interest rates.",
    "The company reported record profits this quarter.",
    "Add two eggs, a cup of flour and a pinch of salt.",
    "Let the dough rest for an hour before baking the bread.",
    "The striker scored twice in the final minutes of the match.",
    "She won the marathon in just over two hours.",
    "Heavy rain and strong winds are expected tomorrow.",
    "The telescope photographed a galaxy billions of light years away.",
    "Restart the server and check the log file for errors.",
    "The patient was given antibiotics against the infection.",
]

QUESTIONS = ["What will the weather be like?", "How do I make a loaf?", "news from the stock market"]
