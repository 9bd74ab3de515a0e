import redisAI


@redisAI.flow("echo")
def echo():
    return "another file has this one"
