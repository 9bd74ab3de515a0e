import redisAI


@redisAI.flow("half")
def half():
    return "what a file that failed has registered is not there"


@redisAI.flow("echo 2")
def other():
    return None


raise KeyError("no model")
