package sink

const killedVariable = "X"

func killed(string) {}
