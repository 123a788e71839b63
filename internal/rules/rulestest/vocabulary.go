package rulestest

import (
	"strconv"

	"bittern/internal/event"
)

var (
	paths = []string{
		"/usr/bin/curl", "/usr/bin/wget", "/bin/sh", "/bin/bash", "/usr/bin/nc", "/tmp/.x/curl", "/tmp/a", "/a", "/",
		"curl", "sh", "./a", "/usr/bin/curl/", "/curl/usr/bin", "/opt/caf\u00e9/sh", "/dev/shm/SSH", "/home/k\u212a/\u017f", "/proc/self/fd/3",
	}
	arguments = []string{
		"curl", "wget", "sh", "-c", "-e", "-", "a", "", "http://198.51.100.7/x", "https://a.example/x.sh", "-O", "/tmp/a",
		"--output=/tmp/a", "x y", " ", "nc -e /bin/sh", "caf\u00e9", "K\u212ak", "\u017fsS", "a*b", "what?", "back\\slash", "\"quoted\"", "$(id)",
		"aab", "abab", "bba", "\ufffd",
	}
	users = []string{"root", "www-data", "Alice"}
	uids  = []uint32{0, 33, 1000}

	// lengths are those around the limits of the kernel's tables and buffers.
	lengths = []int{30, 125, 126, 127, 128, 129, 130, 255, 256, 1024, 4095, 4096}

	stringFields = []event.Field{
		event.ProcessExecutable, event.ProcessExecutable, event.ProcessExecutable,
		event.ProcessCommandLine, event.ProcessCommandLine, event.ProcessCommandLine,
		event.ProcessName, event.ProcessArgs, event.ProcessArgs,
		event.ProcessParentExecutable, event.ProcessParentName, event.ProcessParentCommandLine,
		event.ProcessWorkingDirectory, event.UserName,
	}
	numberFields = []event.Field{
		event.UserID, event.UserID, event.UserEffectiveID, event.GroupID, event.ProcessArgsCount, event.ProcessPID, event.ProcessParentPID,
	}
	boolFields = []event.Field{
		event.ProcessExecutableTruncated, event.ProcessCommandLineTruncated, event.ProcessWorkingDirectoryTruncated,
		event.ProcessParentExecutableTruncated, event.ProcessParentCommandLineTruncated,
	}
)

func itoa[T int | uint32](n T) string { return strconv.FormatInt(int64(n), 10) }

// value returns a value as an event may have for the field, valid UTF-8.
func (g *Generator) value(f event.Field) string {
	if g.oneIn(12) {
		return longText(pick(g, lengths))
	}
	switch f {
	case event.ProcessExecutable, event.ProcessParentExecutable, event.ProcessWorkingDirectory:
		return pick(g, paths)
	case event.ProcessName, event.ProcessParentName:
		_, name := splitPath(pick(g, paths))
		return name
	case event.ProcessArgs:
		return pick(g, arguments)
	case event.UserName:
		return pick(g, users)
	}
	line := ""
	for i := range g.between(0, 4) {
		if i > 0 {
			line += " "
		}
		line += pick(g, arguments)
	}
	return line
}

func splitPath(path string) (dir, name string) {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i+1], path[i+1:]
		}
	}
	return "", path
}
